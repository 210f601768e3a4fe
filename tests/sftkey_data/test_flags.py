"""Flags made of options dataclasses: what `--help` says, and what the verb is given."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner, Result

from sftkey_data.errors import SFTKeyError
from sftkey_data.flags import takes_options
from sftkey_data.options import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    key: Annotated[str, Option(flag="--key-field", help="Column of keys.")] = "id"


@dataclass(frozen=True, kw_only=True)
class Base:
    source: Annotated[str, Option(argument=True, help="The source.")]
    folder: Annotated[Path, Option(help="The folder.")]
    num: Annotated[int, Option(help="A number.", min=1)] = 8
    workers: Annotated[int | None, Option(help="Processes.", min=1, max=64, range_shown=True)] = None
    columns: Columns = field(default_factory=Columns)
    hidden: int = 3


@dataclass(frozen=True, kw_only=True)
class Options(Base):
    share: Annotated[float, Option(help="A share.")] = 0.5
    case: Annotated[Literal["fold", "keep"], Option(help="A choice.")] = "fold"
    order: Annotated[Literal["kind", "all"] | None, Option(help="Another choice.")] = None
    file: Annotated[Path | None, Option(help="A file.")] = None
    inputs: Annotated[tuple[str, ...], Option(flag="--input", help="Inputs.")] = ()
    settings: Annotated[dict[str, Any], Option(flag="--set", help="Settings.")] = field(default_factory=dict)
    values: Annotated[dict[str, Any], Option(flag="--value", json=True, help="Values.")] = field(default_factory=dict)
    chat: Annotated[bool, Option(flag="--chat/--no-chat", help="A switch.")] = False
    overwrite: Annotated[bool, Option(flag="--overwrite", help="One way only.")] = False


given: list[tuple[Options, str, bool]] = []
app = typer.Typer(rich_markup_mode=None)


@app.command()
@takes_options
def verb(
    options: Options,
    out: Annotated[str, typer.Option(help="Output of the verb.")],
    quick: Annotated[bool, typer.Option("--quick", help="Of the verb itself.")] = False,
) -> None:
    """What the verb does."""
    given.append((options, out, quick))


def call(*arguments: str) -> Result:
    given.clear()
    return CliRunner().invoke(app, list(arguments))


def options(*arguments: str) -> Options:
    done = call("rows", "--folder", "f", "--out", "o", *arguments)
    assert done.exit_code == 0, done.output
    return given[0][0]


def test_the_verb_is_given_a_value_of_the_class_and_its_own_flags() -> None:
    assert call("rows", "--folder", "f", "--out", "o", "--quick").exit_code == 0
    assert given == [(Options(source="rows", folder=Path("f")), "o", True)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--num", "-3"], {"num": -3}),
        (["--workers", "2"], {"workers": 2}),
        (["--share", "-0.25"], {"share": -0.25}),
        (["--case", "keep", "--order", "all"], {"case": "keep", "order": "all"}),
        (["--file", "a/b"], {"file": Path("a/b")}),
        (["--input", "a", "--input", "b"], {"inputs": ("a", "b")}),
        (["--set", "a=1", "--set", "b=x=y", "--set", "c="], {"settings": {"a": "1", "b": "x=y", "c": ""}}),
        (["--chat", "--overwrite"], {"chat": True, "overwrite": True}),
        (["--chat", "--no-chat"], {"chat": False}),
        (["--key-field", "uid"], {"columns": Columns(key="uid")}),
    ],
    ids=["negative", "optional", "float", "choices", "path", "list", "settings", "switch", "off", "inner"],
)
def test_every_kind_of_field_is_read(arguments: list[str], expected: dict[str, Any]) -> None:
    assert options(*arguments) == Options(source="rows", folder=Path("f"), **expected)


def test_help_says_what_the_fields_say_and_begins_with_what_must_be_given() -> None:
    said = call("--help").output
    words = " ".join(said.split())
    for expected in ("What the verb does.", "The source.", "Inputs.", "A choice.", "Column of keys."):
        assert expected in words
    for expected in ("--folder PATH", "--num N", "--case fold|keep", "--key-field TEXT", "--chat / --no-chat"):
        assert expected in words
    for expected in ("--workers N", "1<=x<=64", "--quick"):
        assert expected in words
    assert "hidden" not in said
    assert "--no-overwrite" not in said
    flags = [line.split()[0] for line in said.splitlines() if line.startswith("  --")]
    assert flags[:3] == ["--folder", "--out", "--num"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--folder", "f", "--out", "o"],
        ["rows", "--folder", "f"],
        ["rows", "--folder", "f", "--out", "o", "--workers", "65"],
        ["rows", "--folder", "f", "--out", "o", "--num", "x"],
        ["rows", "--folder", "f", "--out", "o", "--hidden", "1"],
    ],
    ids=["no source", "no out", "out of the shown range", "no number", "a field without a flag"],
)
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2
    assert given == []


@pytest.mark.parametrize("text", ["a", "=1"])
def test_a_setting_without_name_or_value_is_one_line(text: str) -> None:
    done = call("rows", "--folder", "f", "--out", "o", "--set", text)
    assert isinstance(done.exception, SFTKeyError)
    assert str(done.exception) == f"--set {text!r}: expected NAME=VALUE"


def test_two_fields_of_one_name_are_refused_when_the_verb_is_made() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Other:
        num: Annotated[int, Option(help="Again.")] = 1

    def clashing(options: Base, other: Other) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'num'"):
        takes_options(clashing)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("false", False), ("False", False), ("True", True), ("3", 3), ('"3"', "3"), ("null", None)),
        *(('[{"a": 1}]', [{"a": 1}]), ("26 Jul 2024", "26 Jul 2024"), ("NaN", "NaN"), ("", ""), ("a=b", "a=b")),
    ],
)
def test_a_value_is_read_as_json_where_it_is_json(text: str, value: Any) -> None:
    assert options("--value", f"name={text}").values == {"name": value}
