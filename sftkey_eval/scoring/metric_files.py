"""A user's own metrics: every public function of a Python file takes a verdict and gives a number or a boolean.

Only a file that the command line names is run, and what is recorded is the digest of the bytes that ran.
"""

import hashlib
import inspect
import math
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdicts import VERDICT_COLUMNS, Verdict


@dataclass(frozen=True, slots=True)
class MetricFunction:
    """One function of a file; its name is a column of the verdicts, the first line of its docstring says what it is."""

    name: str
    description: str
    path: Path
    sha256: str
    call: Callable[[Verdict], Any]

    def __call__(self, verdict: Verdict) -> float | None:
        """The number; a boolean is 1 or 0, None is not measured.

        Raises:
            SFTKeyError: The function raises, or gives something else; names its file and line.
        """
        try:
            found = self.call(verdict)
        except Exception as error:  # noqa: BLE001 - a user's code raises what it likes
            raise SFTKeyError(f"{_place(self.path, error)}: {self.name} of {verdict.id!r}: {_said(error)}") from None
        if found is None:
            return None
        try:
            number = float(found.item() if hasattr(found, "item") else found)  # numpy's numbers are no Python numbers
        except (TypeError, ValueError, OverflowError, RuntimeError):
            number = math.nan
        if isinstance(found, str) or not math.isfinite(number):
            line = inspect.unwrap(self.call).__code__.co_firstlineno
            found_here = f"{self.name} of {verdict.id!r} gave {repr(found)[:80]}"
            raise SFTKeyError(f"{self.path} line {line}: {found_here}, expected a finite number, a boolean or None")
        return number

    def record(self) -> dict[str, str]:
        """What the verdicts' provenance says of it."""
        return {"name": self.name, "description": self.description, "file": str(self.path), "sha256": self.sha256}


def load_metrics(paths: Sequence[Path]) -> tuple[MetricFunction, ...]:
    """Run the files, and give their public functions in the order in which they are defined.

    Raises:
        SFTKeyError: A file is missing, does not run, or defines no metric; a name is that of another or of a column.
    """
    metrics = [metric for path in paths for metric in _of_file(path)]
    for at, metric in enumerate(metrics):
        if metric.name in VERDICT_COLUMNS:
            raise SFTKeyError(f"{metric.path}: metric {metric.name!r} has the name of a column, expected another")
        if other := next((m for m in metrics[:at] if m.name == metric.name), None):
            raise SFTKeyError(f"{metric.path}: metric {metric.name!r} is in {other.path} too, expected another name")
    return tuple(metrics)


def with_metrics(verdict: Verdict, metrics: Sequence[MetricFunction]) -> Verdict:
    """The verdict with what the metrics say of it."""
    return replace(verdict, metrics=tuple(metric(verdict) for metric in metrics))


def _of_file(path: Path) -> list[MetricFunction]:
    try:
        source = path.read_bytes()
    except OSError as error:
        raise SFTKeyError(f"metric file {path} cannot be read: {error.strerror}") from None
    module = ModuleType(f"sftkey_metric_{path.stem}")
    module.__file__ = str(path)
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # not imported: that would write beside the file
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code raises what it likes
        raise SFTKeyError(f"{_place(path, error)}: {_said(error)}") from None
    functions = {
        name: value
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    }
    if not functions:
        raise SFTKeyError(f"{path}: no metric, expected a function that takes a verdict: def words(verdict): …")
    digest = hashlib.sha256(source).hexdigest()
    return [
        MetricFunction(name, _description(function), path, digest, function) for name, function in functions.items()
    ]


def _description(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n")[0]


def _place(path: Path, error: BaseException) -> str:
    """The file, and the line of it where the error arose."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path} line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path} line {lines[-1]}" if lines else str(path)


def _said(error: BaseException) -> str:
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
