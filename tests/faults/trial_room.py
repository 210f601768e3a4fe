"""The room of one trial: a copy of the inputs, what a command made beside it, and how that is compared."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from sftkey_data.storage.appearing import is_own_partial
from sftkey_data.storage.sealed_json import DIGEST

CLOCKED = ("seconds", "per_second")
"""How the names of fields end that a clock has measured; all else of a JSON file is compared, but for its digest."""


@dataclass(frozen=True)
class Room:
    """A folder that every trial finds as new, always under one name, as outputs may name their inputs by path."""

    path: Path
    pristine: Path  # the inputs that it is given a copy of

    def fresh(self, left: Path | None = None) -> Path:
        """The folder with nothing but the inputs, or as another trial `left` it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if left is None:
            shutil.copytree(self.pristine, self.path / "given", symlinks=True)
        else:
            shutil.copytree(left, self.path, symlinks=True)
        return self.path

    def has_output(self) -> bool:
        """Whether anything stands beside the inputs, also under a name that is not its last."""
        return any(path.name != "given" for path in self.path.iterdir())

    def made(self, clocked: Sequence[str] = ()) -> dict[str, bytes]:
        """What stands beside the inputs, by path: what of each file is compared, nothing of the `clocked` ones."""
        files = [path for path in sorted(self.path.rglob("*")) if path.is_file()]
        names = [path.relative_to(self.path).as_posix() for path in files]
        return {
            name: b"" if any(fnmatch(name, pattern) for pattern in clocked) else _compared(path)
            for name, path in zip(names, files, strict=True)
            if not name.startswith("given/")
        }

    def strangers(self, outputs: Sequence[str]) -> list[str]:
        """Names that should not be there: changed or missing inputs, what is no output, what was not finished."""
        before, now = _contents(self.pristine), _contents(self.path / "given")
        changed = [f"given/{name}" for name in sorted(before.keys() | now.keys()) if before.get(name) != now.get(name)]
        others = sorted({path.name for path in self.path.iterdir()} - {"given", *outputs})
        return changed + others + [name for name in self.unfinished() if name.split("/")[0] in outputs]

    def half_written(self) -> list[str]:
        """Files of ours that were to become another; nobody goes on from them."""
        return [name for name in self._names() if is_own_partial(Path(name).name)]

    def unfinished(self) -> list[str]:
        """These, and journals and folders that the same command would go on from."""
        return [name for name in self._names() if name.endswith((".partial", ".replaced"))]

    def _names(self) -> list[str]:
        return [path.relative_to(self.path).as_posix() for path in sorted(self.path.rglob("*"))]


def first_difference(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> str | None:
    """A file that is missing, too much, or of other content; None where there is none."""
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"{name} is too much"
        if expected[name] != found[name]:
            return f"{name} differs"
    return None


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _compared(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        if path.suffix == ".json":
            return json.dumps(_unclocked(json.loads(content))).encode()
        if path.suffix == ".jsonl":
            return "\n".join(json.dumps(_unclocked(json.loads(line))) for line in content.splitlines()).encode()
    except ValueError:
        return content
    return content


def _unclocked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unclocked(inner) for key, inner in value.items() if not key.endswith((*CLOCKED, DIGEST))}
    return [_unclocked(inner) for inner in value] if isinstance(value, list) else value
