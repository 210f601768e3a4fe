"""What of a run or a report goes to a hub: the files that people read, and a card of the report's text."""

import re
from pathlib import Path

from sftkey_data.errors import SFTKeyError
from sftkey_data.publish.hub_push import CARD, Pushed
from sftkey_eval.analysis.loaded_runs import VERDICTS_FILE
from sftkey_eval.records.run_record import RECORD_FILE
from sftkey_eval.records.verdict_reader import read_verdicts

RUN_FILES = (RECORD_FILE, "completions.jsonl", "teacher_forced.jsonl", VERDICTS_FILE, "verdicts.disagreements.jsonl")
REPORT_FILES = ("{}.html", "{}.md", "{}.json", "tables/*.csv", "tables/*.tex", "plots/*.png", "plots/*.svg")
VERDICTS_AS_DATA = f"configs:\n- config_name: verdicts\n  data_files:\n  - split: test\n    path: {VERDICTS_FILE}\n"


def pushed_run(folder: Path) -> Pushed:
    """The files of a folder of `run`, or of `report` or `compare`; no partial files, caches or judge's replies.

    Raises:
        SFTKeyError: It is neither, or its verdicts were changed since they were written.
    """
    below = folder / "report" if (folder / "report" / "report.md").is_file() else folder
    files = {path.relative_to(folder).as_posix(): path for path in _report_files(below)}
    is_run = (folder / VERDICTS_FILE).is_file()
    if is_run:
        read_verdicts(folder / VERDICTS_FILE)
        files |= {name: folder / name for name in RUN_FILES if (folder / name).is_file()}
    text = next((path for path in files.values() if path.suffix == ".md"), None)
    if text is None:
        raise SFTKeyError(
            f"{folder}: found no report.md or compare.md, expected a folder that `sftkey-eval run`, `report` or "
            "`compare` wrote"
        )
    prefix = below.relative_to(folder).as_posix()
    said = text.read_text(encoding="utf-8")
    card = said if prefix == "." else re.sub(r"\]\(plots/", f"]({prefix}/plots/", said)
    front = f"---\ntags:\n- sftkey\n- evaluation\n{VERDICTS_AS_DATA if is_run else ''}---\n\n"
    patterns = tuple(f"{'' if prefix == '.' else prefix + '/'}{kind}/*" for kind in ("tables", "plots"))
    mark = text.with_suffix(".json").relative_to(folder).as_posix()
    return Pushed(
        kind="dataset", files=files, card=None if CARD in files else front + card, mark=mark, replaces=patterns
    )


def _report_files(folder: Path) -> list[Path]:
    found = {
        path
        for pattern in REPORT_FILES
        for stem in ("report", "compare")
        for path in folder.glob(pattern.format(stem))
        if path.is_file()
    }
    return sorted(found)
