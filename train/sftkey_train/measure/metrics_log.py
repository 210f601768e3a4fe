"""metrics.jsonl: one JSON object per logged step or held-out measurement, appended as the run goes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sftkey_data.errors import Interrupted
from sftkey_data.storage.appearing import write_bytes
from sftkey_data.storage.filesystems import naming
from sftkey_data.storage.sealed_json import read_sealed_lines, sealed_line
from sftkey_train import ranks

MetricsRow = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MetricsLog:
    """The rows of a run, in the order they were measured; the first rank writes, `also` is called with each new row."""

    path: Path
    also: Callable[[MetricsRow], None] | None = None

    def append(self, row: MetricsRow) -> None:
        """Add one row; it is in the file when this returns.

        Raises:
            Interrupted: It could not be written, for example as the disk is full.
        """
        if not ranks.is_main():
            return
        # Opened for each row, so that a killed run has lost none, at worst the end of the last line.
        with naming(self.path, "written", Interrupted), self.path.open("ab") as file:
            file.write(sealed_line(row, allow_nan=False))
        if self.also is not None:
            self.also(row)

    def rows(self) -> list[MetricsRow]:
        """All whole rows; a last line that a killed run left unfinished is no row.

        Raises:
            SFTKeyError: One is not as it was written.
        """
        if not self.path.exists():
            return []
        return list(read_sealed_lines(self.path, f"delete {self.path.parent} to run it again"))

    def rewind(self, finished: Iterable[str], stage: str, step: int) -> None:
        """Forget what will be measured again: all rows but those of finished stages, and of `stage` up to `step`.

        At step 0 the stage begins anew, and so does its measurement before the first step.
        """
        finished = set(finished)
        kept = [
            r for r in self.rows() if r["stage"] in finished or (r["stage"] == stage and r["step"] <= step and step)
        ]
        write_bytes(self.path, b"".join(map(sealed_line, kept)))
