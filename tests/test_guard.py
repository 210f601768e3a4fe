"""The guard of the tests themselves."""

import shutil
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
