"""What the programs have in common at the terminal: short help in panels, one name for one thing, exit codes."""

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest
import typer
from typer.testing import CliRunner

import sftkey_data
from sftkey.cli import app as all_programs
from sftkey_data.cli import app as data
from sftkey_data.command_line.verb import Verb
from sftkey_data.options import Panel
from sftkey_eval.cli import app as evaluation
from sftkey_train.cli import app as train

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {"sftkey": all_programs, "sftkey-data": data, "sftkey-train": train, "sftkey-eval": evaluation}
MODULES = {"sftkey": "sftkey.cli"} | {f"sftkey-{name}": f"sftkey_{name}.cli" for name in ("data", "train", "eval")}
COMMANDS: dict[tuple[str, str], Any] = {
    (program, name): command
    for program, app in PROGRAMS.items()
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    if isinstance(command, Verb)
}
EVERY_VERB = pytest.mark.parametrize(("program", "verb"), COMMANDS, ids=map(" ".join, COMMANDS))
MAX_LINES, WIDTH = 40, 100
DIFFERENT = ("--help", "--seed")
"""What `--seed` draws is a holdout here and a completion there."""


def said(program: str, *arguments: str) -> str:
    done = CliRunner().invoke(PROGRAMS[program], list(arguments), env={"COLUMNS": str(WIDTH)}, prog_name=program)
    assert done.exit_code == 0, done.output
    return done.output


def called(
    program: str, *arguments: str, cwd: Path, stdout: int | TextIO = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'train'}"}
    command = [sys.executable, "-m", MODULES[program], *arguments]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment, check=False
    )


@EVERY_VERB
def test_the_help_of_a_verb_fits_a_screen_and_ends_with_what_shows_more(program: str, verb: str) -> None:
    lines = said(program, verb, "--help").splitlines()
    assert len(lines) <= MAX_LINES
    assert max(map(len, lines)) <= WIDTH
    assert f"Usage: {program} {verb}" in lines[0]
    assert any(line.startswith("Example") for line in lines)
    assert "--help-all" in "".join(lines[-2:])
    assert said(program, verb, "-h").splitlines() == lines


@EVERY_VERB
def test_all_help_has_every_option_and_short_help_all_that_must_be_given(program: str, verb: str) -> None:
    whole, short = said(program, verb, "--help-all"), said(program, verb, "--help")
    params = [param for param in COMMANDS[program, verb].params if param.name != "help"]
    assert [param.name for param in params if not any(name in whole for name in shown(param))] == []
    needed = [param for param in params if param.required]
    assert [param.name for param in needed if not any(name in short for name in shown(param))] == []


def shown(param: Any) -> list[str]:
    """What stands in help for an option: its names, or of an argument the word for it."""
    return [name for name in param.opts if name.startswith("--")] or [param.metavar]


@EVERY_VERB
def test_every_option_stands_in_a_panel(program: str, verb: str) -> None:
    for param in COMMANDS[program, verb].params:
        if param.name != "help":
            assert param.rich_help_panel in set(Panel) - {Panel.OTHER}, param.name
            assert param.help, param.name


def test_one_option_has_one_place_one_kind_and_one_default_in_all_programs() -> None:
    places: dict[str, set[tuple[Any, ...]]] = {}
    for command in COMMANDS.values():
        for param in command.params:
            for name in param.opts:
                if name.startswith("--") and name not in DIFFERENT:
                    flag = getattr(param, "is_flag", False), tuple(param.secondary_opts)
                    default = None if param.required else param.default
                    places.setdefault(name, set()).add((param.rich_help_panel, *flag, default or None))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
    assert places["--workers"] == {(Panel.SPEED, False, (), None)}
    assert places["--overwrite"] == {(Panel.SAFETY, True, (), None)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_says_its_version(program: str) -> None:
    assert said(program, "--version") == f"{program} {sftkey_data.__version__}\n"


@pytest.mark.parametrize(
    ("program", "arguments", "expected"),
    [
        (
            "sftkey-data",
            ["check", "a", "--wrokers=2"],
            "sftkey-data check: No such option: --wrokers (Possible options: --workers)",
        ),
        (
            "sftkey-data",
            ["export", "a", "--no-overwrite"],
            "sftkey-data export: No such option: --no-overwrite is now --overwrite (it is off where it is not given)",
        ),
        ("sftkey-eval", ["scroe"], "sftkey-eval: No such command 'scroe'. Did you mean 'score'?"),
        ("sftkey", ["dta"], "sftkey: No such command 'dta'. Did you mean 'data'?"),
        ("sftkey", ["data", "bild"], "sftkey data: No such command 'bild'. Did you mean 'build'?"),
    ],
    ids=["misspelt", "a flag now", "misspelt verb", "misspelt program", "misspelt verb of one"],
)
def test_wrong_usage_is_one_line_that_names_the_nearest_and_exit_2(
    program: str, arguments: list[str], expected: str, tmp_path: Path
) -> None:
    done = called(program, *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {expected}\n")


def test_a_former_name_may_be_a_value(tmp_path: Path) -> None:
    done = called("sftkey-data", "check", "--", "--no-overwrite", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: --no-overwrite: ")


def test_the_shell_completes_verbs_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # else it is the shell the tests run in
    assert "_SFTKEY_DATA_COMPLETE" in called("sftkey-data", "--show-completion", "bash", cwd=tmp_path).stdout


@EVERY_VERB
def test_the_programs_under_one_name_have_the_same_help(program: str, verb: str) -> None:
    under_one_name = said("sftkey", *program.split("-")[1:], verb, "--help").splitlines()
    assert under_one_name[0].strip() == said(program, verb, "--help").splitlines()[0].strip().replace("-", " ", 1)
    assert under_one_name[1:] == said(program, verb, "--help").splitlines()[1:]


def test_the_help_of_all_programs_imports_none_of_them(tmp_path: Path) -> None:
    code = "import sys; from sftkey.cli import main; sys.argv[1:] = ['--help']\ntry: main()\nexcept SystemExit: pass\n"
    code += "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'train'}"},
        cwd=tmp_path,
        check=True,
    )
    assert "eval" in done.stdout
    heavy = {"sftkey_train", "sftkey_eval", "torch", "transformers", "pyarrow", "pydantic", "numpy"}
    assert heavy & {*done.stderr.split()} == set()


@pytest.mark.parametrize(
    ("words", "expected"),
    [("sftkey da", "data"), ("sftkey data chec", "check"), ("sftkey train study --sel", "--select")],
)
def test_the_shell_completes_all_programs_under_one_name(
    words: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    monkeypatch.setenv("_SFTKEY_COMPLETE", "complete_bash")
    assert called("sftkey", cwd=tmp_path).stdout.split() == [expected]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("question,working,result\nWhat is 1 + 1?,One more than 1.,2\n")
    return tmp_path


@pytest.mark.parametrize(("program", "words"), [("sftkey-data", []), ("sftkey", ["data"])])
def test_the_next_command_names_the_program_that_was_typed_and_the_file_that_was_written(
    program: str, words: list[str], rows: Path
) -> None:
    with (rows / "rows.toml").open("w") as file:
        done = called(program, *words, "map", "rows.csv", cwd=rows, stdout=file)
    proposed = done.stderr.splitlines()[-1].removeprefix("next: ")
    assert proposed == f"{' '.join([program, *words])} show rows.toml --input rows.csv"
    assert "key: '2'" in called(program, *shlex.split(proposed)[1:], cwd=rows).stdout


def test_on_a_terminal_the_next_command_writes_the_file_that_is_not_there_yet(rows: Path) -> None:
    terminal, screen = pty.openpty()
    try:
        done = called("sftkey", "data", "map", "rows.csv", cwd=rows, stdout=screen)
    finally:
        os.close(screen)
        os.close(terminal)
    assert done.stderr.splitlines()[-1] == "next: sftkey data map rows.csv > mine.toml"
