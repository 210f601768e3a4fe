"""Options dataclasses as keywords: names, defaults and limits of the flags, and one line where something is wrong."""

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer

from sftkey_data.building.build_config import BuildConfig
from sftkey_data.cli import app as data
from sftkey_data.errors import SFTKeyError
from sftkey_data.interface.keywords import keywords_of, takes_keywords
from sftkey_data.options import Option
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.cli import app as evaluation
from sftkey_eval.scoring.score_options import ScoreOptions


@dataclass(frozen=True, kw_only=True)
class Columns:
    key: Annotated[str, Option(flag="--key-field", help="Column of keys.")] = "id"


@dataclass(frozen=True, kw_only=True)
class Options:
    source: Annotated[str, Option(argument=True, help="The source.")]
    workers: Annotated[int | None, Option(help="Processes.", min=1)] = None
    columns: Columns = field(default_factory=Columns)
    case: Annotated[Literal["fold", "keep"], Option(help="A choice.")] = "fold"
    inputs: Annotated[tuple[str, ...], Option(flag="--input", help="Inputs.")] = ()
    folder: Annotated[Path | None, Option(help="A folder.")] = None
    chat: Annotated[bool, Option(flag="--chat/--no-chat", help="A switch.")] = False
    hidden: int = 3


@takes_keywords
def work(options: Options, out: str, *, quick: bool = False) -> tuple[Options, str, bool]:
    """What it does."""
    return options, out, quick


def test_what_is_given_by_name_or_place_comes_where_it_belongs() -> None:
    options, out, quick = work("a", "there", key_field="q", input="x", chat=True, folder="f", quick=True)
    expected = Options(source="a", columns=Columns(key="q"), inputs=("x",), chat=True, folder=Path("f"))
    assert (options, out, quick) == (expected, "there", True)
    assert work(source="a", out="there")[0] == Options(source="a")
    assert work("a", "b", input=[Path("x"), "y"])[0].inputs == ("x", "y")


def test_the_signature_shows_each_option_with_its_default() -> None:
    shown = inspect.signature(work).parameters
    assert list(shown)[:2] == ["source", "out"]
    defaults = {"workers": None, "key_field": "id", "case": "fold", "input": (), "chat": False, "quick": False}
    assert {name: shown[name].default for name in defaults} == defaults
    assert "hidden" not in shown
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in defaults)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"wrokers": 2}, r"^\w+.work: no option 'wrokers' \(did you mean 'workers'\?\)$"),
        ({"key": "q"}, r"no option 'key' \(did you mean 'key_field'\?\)"),
        ({"workers": 0}, r"^workers is 0, expected at least 1$"),
        ({"workers": "many"}, r"work: workers: Input should be a valid integer"),
        ({"case": "flod"}, r"work: case: Input should be 'fold' or 'keep', found 'flod'"),
        ({"input": [3]}, r"work: inputs.0: Input should be a valid string, found 3"),
        ({"hidden": 4}, r"no option 'hidden'"),
    ],
    ids=["misspelt", "field", "limit", "type", "choice", "inside", "no flag"],
)
def test_a_wrong_name_or_value_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SFTKeyError, match=said):
        work("a", "b", **given)


def test_what_must_be_given_is_named() -> None:
    with pytest.raises(SFTKeyError, match="missing a required argument: 'out'"):
        work("a")


@pytest.mark.parametrize(
    ("kind", "app", "verb"),
    [(BuildConfig, data, "build"), (ScoreOptions, evaluation, "score"), (Allowed, evaluation, "compare")],
    ids=["build", "score", "compare"],
)
def test_keywords_are_the_flags_of_the_verb_with_their_defaults(kind: Any, app: Any, verb: str) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    flags = {param.opts[0].lstrip("-").replace("-", "_"): param for param in command.params}
    keywords = {keyword.parameter.name: keyword for keyword in keywords_of(kind)}
    assert keywords
    for name, keyword in keywords.items():
        default = keyword.parameter.default
        assert name in flags, name
        assert flags[name].required == (default is inspect.Parameter.empty)
        if not flags[name].required and default not in ((), {}):
            assert flags[name].default == default, name


def test_a_file_of_options_is_the_command_lines_alone() -> None:
    """It would be recorded and not read."""
    assert "config" not in {keyword.parameter.name for keyword in keywords_of(ScoreOptions)}
