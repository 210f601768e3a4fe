"""A tokenizer read from its folder without transformers, whose import takes longer than preparing 50,000 rows.

transformers may make another tokenizer of the same files: some of its classes rewrite parts. So it is asked by a
process that runs beside the build. Nothing is published before it has given the same. What it gave is kept in the
user's cache, under a hash of the files and of the versions, so that it is asked once.

    python -m sftkey_data.tokens.tokenizer_file DIR    # what transformers gives, as JSON
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

import sftkey_data
from sftkey_data.errors import Interrupted
from sftkey_data.guards.regular_file import read_json_file
from sftkey_data.storage.appearing import make_folder, write_bytes
from sftkey_data.tokens.tokenizer import FastTokenizer, load_tokenizer, tokenizer_fingerprint
from sftkey_data.tokens.tokenizer_copy import TOKENIZER_FILES


class TokenizerFile:
    """What a build needs of a tokenizer; a `FastTokenizer` as transformers' are, without chat template."""

    def __init__(self, directory: Path, eos_token: str) -> None:
        self.name_or_path = str(directory)
        self.backend_tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        self.backend_tokenizer.no_padding()
        self.backend_tokenizer.no_truncation()
        self.backend_json = str(self.backend_tokenizer.to_str())
        self.eos_token_id: int | None = self.backend_tokenizer.token_to_id(eos_token)
        self.added_tokens_decoder: dict[int, Any] = self.backend_tokenizer.get_added_tokens_decoder()

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))


def open_tokenizer_file(name: str) -> TokenizerFile | None:
    """The tokenizer of a local folder; None where only transformers can say what it is."""
    directory = Path(name)
    try:
        config = read_json_file(directory / "tokenizer_config.json")
        eos = config["eos_token"]
        tokenizer = TokenizerFile(directory, eos["content"] if isinstance(eos, dict) else eos)
    except Exception:  # noqa: BLE001 - tokenizers raises bare ones; whatever is wrong, transformers words it
        return None
    return tokenizer if tokenizer.eos_token_id is not None else None


class TokenizerDiffers(Exception):  # noqa: N818 - a finding that switches the tokenizer, never shown as an error
    """transformers makes another tokenizer of the folder than its `tokenizer.json` says."""


class Opinion:
    """What transformers makes of a folder's files: known from the cache, or being asked of another process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cached = _cache() / f"{_key(directory)}.json"
        self._process: subprocess.Popen[bytes] | None = None
        if not self._cached.is_file():
            command = [sys.executable, "-m", "sftkey_data.tokens.tokenizer_file", str(directory)]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def denies(self, tokenizer: FastTokenizer) -> bool:
        """Whether it is known already that transformers gives another tokenizer."""
        return self._process is None and self._cached.read_bytes().strip() != _facts(tokenizer)

    def confirm(self, tokenizer: FastTokenizer) -> None:
        """Wait for the answer where it is still being asked.

        Raises:
            TokenizerDiffers: transformers gives another tokenizer, or none.
        """
        if self._process is None:
            answer = self._cached.read_bytes()
        else:
            answer, _ = self._process.communicate()
            if self._process.returncode == 0:  # also an answer that differs: the next build asks nobody
                _keep(self._cached, answer)
        if answer.strip() != _facts(tokenizer):
            raise TokenizerDiffers(
                f"transformers makes another tokenizer of {self._directory} than tokenizer.json says"
            )

    def close(self) -> None:
        """End the other process if nobody waits for it any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextmanager
def opinion_on(name: str | None) -> Iterator[Opinion | None]:
    """The opinion on a local folder's tokenizer; None where there is no such folder to read without transformers."""
    if name is None or not (Path(name) / "tokenizer.json").is_file():
        yield None
        return
    opinion = Opinion(Path(name))
    try:
        yield opinion
    finally:
        opinion.close()


FACTS = ("fingerprint", "eos_token_id", "vocab_size", "added_tokens")


def _facts(tokenizer: FastTokenizer) -> bytes:
    tokens = sorted(tokenizer.added_tokens_decoder.items())
    added = {str(index): (str(token.content), bool(token.special)) for index, token in tokens}
    values = (tokenizer_fingerprint(tokenizer), tokenizer.eos_token_id, len(tokenizer), added)
    return json.dumps(dict(zip(FACTS, values, strict=True))).encode()


def _key(directory: Path) -> str:
    """Over everything that the answer depends on."""
    versions = [sftkey_data.__version__, version("transformers"), version("tokenizers"), *FACTS]
    digest = hashlib.sha256(json.dumps(versions).encode())
    for name in TOKENIZER_FILES:
        if (path := directory / name).is_file():
            digest.update(f"{name} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sftkey" / "tokenizers"


def _keep(path: Path, content: bytes) -> None:
    with suppress(OSError, Interrupted):  # a home that cannot be written: it is asked again next time
        make_folder(path.parent)
        write_bytes(path, content)


if __name__ == "__main__":
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type] # transformers would load it
    sys.stdout.buffer.write(_facts(load_tokenizer(sys.argv[1])))
