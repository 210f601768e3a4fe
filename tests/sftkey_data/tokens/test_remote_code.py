"""A tokenizer's folder that brings Python code: it never runs, whatever stands on stdin."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.tokens.tokenizer import load_tokenizer

FIXTURE = Path(__file__).parent.parent / "fixtures" / "gsm8k.jsonl"


@pytest.mark.parametrize("options", [[], pytest.param(["--chat"], marks=pytest.mark.slow)], ids=["plain", "chat"])
def test_yes_on_stdin_runs_no_code_of_a_tokenizer(shared_data: Path, tmp_path: Path, options: list[str]) -> None:
    folder = shutil.copytree(shared_data / "tokenizers" / "qwen2.5", tmp_path / "evil")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
    (folder / "own.py").write_text(f"{code}from transformers import PreTrainedTokenizerFast as OwnTokenizer\n")
    file = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    config = {"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "sftkey_data.cli", "build", "gsm8k", "--input", str(FIXTURE), "--workers", "1"]
    command += ["--tokenizer", str(folder), "--out", str(tmp_path / "out"), *options]
    done = subprocess.run(command, input="y\n" * 9, capture_output=True, text=True, check=False)
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out").exists()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: tokenizer '{folder}' could not be loaded: ")


WRONG = {"deep": b'{"a":' * 100_000, "a list": b"[]", "numbers": b'{"model": 3, "added_tokens": 3}', "no text": b"\xff"}


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_of_a_tokenizer_that_is_wrong_in_any_way_is_one_line(name: str, wrong: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(WRONG[wrong])
    with pytest.raises(SFTKeyError, match=r"^tokenizer '.*' (could not be loaded|has no EOS token|is not a fast)"):
        load_tokenizer(str(tmp_path))
