"""The guards of the tests themselves."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NOWHERE = Path("/no-such-folder-of-the-machine")


def test_no_test_can_remove_a_folder_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    shutil.rmtree(tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
    for path in (NOWHERE, tmp_path / "ours" / str(NOWHERE)):
        with pytest.raises(RuntimeError, match="a test asked to remove /no-such-folder-of-the-machine"):
            shutil.rmtree(path, ignore_errors=True)


@pytest.mark.slow
def test_tests_of_a_gpu_alone_fail_in_one_line_where_there_is_none() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, "-m", "pytest", "-m", "gpu", __file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert done.stdout == ""
    assert done.stderr.strip() == "ERROR: the tests marked gpu need a GPU, and torch finds none"
