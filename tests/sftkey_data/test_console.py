"""What the programs print: nothing that comes with data, labels or file names steers the terminal."""

import ast
from pathlib import Path

import pytest
from rich.text import Text
from shard_edits import edit_manifest
from typer.testing import CliRunner

from sftkey_data.cli import app
from sftkey_data.console import progress, tell, tell_in_colour

ROOT = Path(__file__).resolve().parents[2]
CLEAR, TITLE, C1, REVERSED = "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202e"
HOSTILE = f"a{CLEAR}b{TITLE}c{C1}d{REVERSED}e\rf\x08g"
SHOWN = "a⟨U+001B⟩[2Jb⟨U+001B⟩]0;owned⟨U+0007⟩c⟨U+009B⟩31md⟨U+202E⟩e⟨U+000D⟩f⟨U+0008⟩g"


@pytest.mark.parametrize("err", [False, True])
def test_what_steers_a_terminal_is_printed_as_its_code(capsys: pytest.CaptureFixture[str], err: bool) -> None:
    tell(f"{HOSTILE}\tß\n36.5\u202f%", err=err)
    assert capsys.readouterr()[err] == f"{SHOWN}\tß\n36.5\u202f%\n"


def test_lines_in_colour_keep_their_styles_and_lose_what_steers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    tell_in_colour([Text().append("key ", "bold").append(HOSTILE, "red")])
    printed = capsys.readouterr().out
    assert "\x1b[1mkey \x1b[0m\x1b[31ma" in printed
    for style in ("\x1b[1m", "\x1b[31m", "\x1b[0m"):
        printed = printed.replace(style, "")
    kept = SHOWN.replace("⟨U+0007⟩", "").replace("⟨U+000D⟩", "").replace("⟨U+0008⟩", "")  # rich drops these itself
    assert printed == f"key {kept}\n"


def test_a_hostile_manifest_steers_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a\\n#### 4"}\n{"question": "q", "answer": ""}\n')
    out = tmp_path / "out"
    command = ["build", "gsm8k", "--input", str(tmp_path / "rows.jsonl"), "--out", str(out), "--workers", "1"]
    command += ["--max-reject-rate", "1"]
    assert CliRunner().invoke(app, command).exit_code == 0
    edit_manifest(out, lambda manifest: manifest.update(rejects={f"missing_key{HOSTILE}": 1}))
    printed = CliRunner().invoke(app, ["stats", str(out)])
    assert printed.exit_code == 0
    assert f"missing_key{SHOWN}" in printed.output
    assert "\x1b" not in printed.output


def test_a_bar_that_knew_no_total_has_one_at_its_end() -> None:
    with progress("rows") as bar:
        bar.advance(bar.task_ids[0], 3)
    assert bar.tasks[0].total == 3


def prints_by_itself(path: Path) -> list[int]:
    """Lines that write to the terminal with something else than `sftkey_data.console`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    others = (
        "print",
        "typer.echo",
        "typer.secho",
        "click.echo",
        "sys.stdout.write",
        "sys.stderr.write",
        "output.print",
    )
    return [call.lineno for call in calls if ast.unparse(call.func) in others]


TERMINAL = ("console.py", "quiet_imports.py")
"""The second speaks before anything else can be imported."""


def test_there_is_one_way_to_the_terminal() -> None:
    packages = (ROOT / "sftkey_data", ROOT / "sftkey_eval", ROOT / "train")
    modules = [path for package in packages for path in package.rglob("*.py") if path.name not in TERMINAL]
    assert {path: lines for path in modules if (lines := prints_by_itself(path))} == {}
