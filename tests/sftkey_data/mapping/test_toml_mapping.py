"""The words of a TOML mapping: each says one thing, and what it cannot read is a reject or one line."""

from pathlib import Path
from typing import Any

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Parts, Reject
from sftkey_data.mapping.toml_mapping import read_mapping
from sftkey_data.prepared.shards import open_shards

BASE = {"prompt": '"q"', "cot": '"c"', "key": '"k"'}
ROW: dict[str, Any] = {"q": "What?", "c": "Because.", "k": "4"}


def parts(folder: Path, row: dict[str, Any], **words: str) -> Parts:
    path = folder / "mine.toml"
    path.write_text("".join(f"{name} = {value}\n" for name, value in (BASE | words).items() if value))
    return read_mapping(path).extract(ROW | row)


def reason(folder: Path, row: dict[str, Any], **words: str) -> str:
    with pytest.raises(Reject) as raised:
        parts(folder, row, **words)
    assert "\n" not in raised.value.detail
    return raised.value.reason


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ('{ columns = ["a", "q"], join = "\\n\\n" }', "Once.\n\nWhat?"),
        ('["a", "q"]', "Once.\nWhat?"),
        ('{ columns = ["a", "n", "b"], join = " " }', "Once. 145 Then."),
        ('{ columns = ["a", "b", "q"], join = "" }', "Once.Then.What?"),
        ('{ columns = ["a", "q"], join = " ", regex = "^(.+?[.])" }', "Once."),
    ],
)
def test_a_part_is_joined_of_several_columns(tmp_path: Path, word: str, wanted: str) -> None:
    assert parts(tmp_path, {"a": "Once.", "b": "Then.", "n": 145.0}, prompt=word).prompt == wanted


@pytest.mark.parametrize(
    ("value", "word", "wanted"),
    [
        (["4"], '{ column = "k", take = "only" }', "4"),
        (["4", " 4 "], '{ column = "k", take = "only" }', "4"),
        ([4.0, 5.5], '{ column = "k", take = "first" }', "4"),
        (["4", "5"], '{ column = "k", take = "last" }', "5"),
        (["so", "thus"], '{ column = "k", join = "; " }', "so; thus"),
    ],
)
def test_a_list_gives_its_only_item_or_the_one_asked_for(tmp_path: Path, value: Any, word: str, wanted: str) -> None:
    assert parts(tmp_path, {"k": value}, key=word).key == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(["4", "5"], "several_values"), ([], "empty_list"), ([None], "wrong_type"), ([["4"]], "wrong_type")],
)
def test_a_list_that_says_no_one_thing_is_rejected(tmp_path: Path, value: Any, wanted: str) -> None:
    assert reason(tmp_path, {"k": value}, key='{ column = "k", take = "only" }') == wanted


def test_a_list_of_which_the_mapping_says_nothing_is_rejected(tmp_path: Path) -> None:
    assert reason(tmp_path, {"k": ["4"]}) == "wrong_type"


@pytest.mark.parametrize(
    ("text", "take", "wanted"),
    [
        ("338", "only", "338"),
        ("338, so 338", "only", "338"),
        ("338 or 348", "first", "338"),
        ("338 or 348", "last", "348"),
    ],
)
def test_a_regex_finds_one_text_or_the_one_asked_for(tmp_path: Path, text: str, take: str, wanted: str) -> None:
    word = f"{{ column = 'k', regex = '\\d+', take = '{take}' }}"
    assert parts(tmp_path, {"k": text}, key=word).key == wanted


@pytest.mark.parametrize("pattern", [r"\d+", r"(\d+)", r"(?:is|or) (\d+)"])
def test_a_regex_that_matches_with_different_texts_is_rejected(tmp_path: Path, pattern: str) -> None:
    word = f"{{ column = 'k', regex = '{pattern}' }}"
    assert reason(tmp_path, {"k": "It is 338 or 348."}, key=word) == "several_matches"


def test_a_match_of_nothing_at_the_end_is_none(tmp_path: Path) -> None:
    assert parts(tmp_path, {"k": "42"}, key="{ column = 'k', regex = '.*' }").key == "42"


@pytest.mark.parametrize(
    ("text", "take", "wanted"),
    [
        (r"So \boxed{\frac{1}{2}}.", "only", r"\frac{1}{2}"),
        (r"\boxed{3}, then \boxed{4}", "last", "4"),
        (r"\boxed{3}, then \boxed{4}", "first", "3"),
        (r"\boxed{3}, so \boxed{3}", "only", "3"),
        (r"\boxed{\boxed{3}}", "only", "3"),
        (r"\fbox{a} \boxed 7", "last", "7"),
    ],
)
def test_the_key_stands_in_a_box(tmp_path: Path, text: str, take: str, wanted: str) -> None:
    assert parts(tmp_path, {"k": text}, key=f"{{ column = 'k', boxed = true, take = '{take}' }}").key == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [(r"\boxed{3} or \boxed{4}", "several_boxes"), (r"\boxed{3", "missing_key"), ("3", "missing_key")],
)
def test_boxes_that_do_not_say_it_are_rejected(tmp_path: Path, text: str, wanted: str) -> None:
    assert reason(tmp_path, {"k": text}, key='{ column = "k", boxed = true }') == wanted


NESTED = {"a": {"b": [{"c": "4"}, {"c": 5.0}], "x.y": "dots"}, "r.s": "own"}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [("a.b.0.c", "4"), ("a.b.1.c", "5"), ("a.b.-1.c", "5"), ("r.s", "own")],
)
def test_a_path_leads_into_a_column(tmp_path: Path, path: str, wanted: str) -> None:
    assert parts(tmp_path, NESTED, key=f'"{path}"').key == wanted


@pytest.mark.parametrize("path", ["a.b.2.c", "a.b.c", "a.z", "k.z", "a.b.0.c.d", "z.a", "a.b.²"])
def test_a_path_that_leads_nowhere_is_rejected(tmp_path: Path, path: str) -> None:
    assert reason(tmp_path, NESTED, key=f'"{path}"') == "missing_column"


def test_a_path_is_checked_before_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('prompt = "q"\ncot = "c"\nkey = "meta.anwser"\n')
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "c": "b", "meta": {"answer": 3.0}}\n')
    config = BuildConfig(source=str(tmp_path / "mine.toml"), inputs=(str(tmp_path / "rows.jsonl"),))
    with pytest.raises(SFTKeyError, match=r"column 'meta.anwser' is missing \(did you mean 'meta.answer'\?\)"):
        build(config, tmp_path / "out")
    (tmp_path / "mine.toml").write_text('prompt = "q"\ncot = "c"\nkey = "meta.answer"\n')
    build(config, tmp_path / "out")
    assert open_shards(tmp_path / "out")["gold"].to_pylist() == ["3"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a ) 3 , b ) 4", ("3", "4")),
        ("a ) 1,200 , b ) 4 , c ) none of these", ("1,200", "4", "none of these")),
        ("A. red\nB. dark blue", ("red", "dark blue")),
        ("(A) red (B) blue (C) green", ("red", "blue", "green")),
        ("A)21; B)22", ("21", "22")),
        ("1. one 2. two and 3.5", ("one", "two and 3.5")),
        ("A: red | B: blue", ("red", "blue")),
        ("['a ) 38', 'b ) 27.675']", ("38", "27.675")),
        ("A. a worm\nB. C. elegans", ("a worm", "C. elegans")),
        (["A)21", "B)22"], ("21", "22")),
    ],
)
def test_options_in_one_text_are_split(tmp_path: Path, text: Any, wanted: tuple[str, ...]) -> None:
    assert parts(tmp_path, {"o": text}, choices='{ column = "o", labels = true }').choices == wanted


@pytest.mark.parametrize(
    "text",
    ["red, blue", "A. red", "A. red C. blue", "B. red A. blue", "A. B. C.", "Pick: A. x B. y", "A) a B) b B) c", ""],
)
def test_options_whose_labels_are_not_in_order_are_rejected(tmp_path: Path, text: str) -> None:
    assert reason(tmp_path, {"o": text}, choices='{ column = "o", labels = true }') == "bad_options"


@pytest.mark.parametrize(
    ("cells", "wanted"),
    [
        (["red", "blue", "green"], ("red", "blue", "green")),
        ([1.0, 2.5, " "], ("1", "2.5")),
        (["red", "blue", None], ("red", "blue")),
        (["A) red", "B) blue", ""], ("red", "blue")),
    ],
)
def test_each_option_has_a_column_and_the_last_ones_may_be_blank(
    tmp_path: Path, cells: list[Any], wanted: tuple[str, ...]
) -> None:
    words = 'columns = ["A", "B", "C"]' + (", labels = true" if cells[0] == "A) red" else "")
    assert parts(tmp_path, dict(zip("ABC", cells, strict=True)), choices=f"{{ {words} }}").choices == wanted


@pytest.mark.parametrize("cells", [["red", "", "green"], ["red", None, None], ["", "", ""]])
def test_a_blank_before_an_option_or_a_single_option_is_rejected(tmp_path: Path, cells: list[Any]) -> None:
    assert reason(tmp_path, dict(zip("ABC", cells, strict=True)), choices='["A", "B", "C"]') == "bad_options"


def test_null_options_are_built_and_a_misspelt_column_is_refused_before_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"q": "Which?", "c": "So.", "k": "B", "A": "x", "B": "y", "C": null}\n')
    mine, words = tmp_path / "mine.toml", 'prompt = "q"\ncot = "c"\nkey = { column = "k", option = "letter" }\n'
    config = BuildConfig(source=str(mine), inputs=(str(tmp_path / "rows.jsonl"),))
    mine.write_text(words + 'choices = ["A", "B", "c "]\n')
    with pytest.raises(SFTKeyError, match="column 'c ' is missing"):
        build(config, tmp_path / "out")
    mine.write_text(words + 'choices = ["A", "B", "C"]\n')
    build(config, tmp_path / "out")
    assert open_shards(tmp_path / "out")["choices"].to_pylist() == [["x", "y"]]


def test_options_stand_between_separators_or_in_a_list(tmp_path: Path) -> None:
    assert parts(tmp_path, {"o": "red | blue"}, choices='{ column = "o", separator = "|" }').choices == ("red", "blue")
    assert parts(tmp_path, {"o": [1.0, 2.5]}, choices='"o"').choices == ("1", "2.5")
    assert parts(tmp_path, {"o": {"text": ["a", "b"]}}, choices='"o.text"').choices == ("a", "b")
    assert reason(tmp_path, {"o": "red"}, choices='{ column = "o", separator = "|" }') == "bad_options"
    assert reason(tmp_path, {"o": "red | blue"}, choices='"o"') == "wrong_type"


@pytest.mark.parametrize(
    ("value", "option", "wanted"),
    [
        (1, "index", "B"),
        (1.0, "index", "B"),
        ("1", "index", "B"),
        (1, "number", "A"),
        ("b", "letter", "B"),
        ("(B)", "letter", "B"),
        (2.5, "text", "B"),
    ],
)
def test_the_key_is_the_letter_of_the_option_that_a_column_names(
    tmp_path: Path, value: Any, option: str, wanted: str
) -> None:
    word = f'{{ column = "k", option = "{option}" }}'
    found = parts(tmp_path, {"k": value, "o": [1.0, 2.5]}, key=word, choices='"o"', list_choices="true")
    assert (found.key, found.prompt) == (wanted, "What?\nA. 1\nB. 2.5")


@pytest.mark.parametrize(
    ("value", "option", "wanted"),
    [
        (True, "index", "wrong_type"),
        (2, "index", "wrong_choice"),
        (0, "number", "wrong_choice"),
        ("C", "letter", "wrong_choice"),
        ("red", "text", "wrong_choice"),
        (0.5, "index", "wrong_type"),
    ],
)
def test_a_key_that_names_no_option_is_rejected(tmp_path: Path, value: Any, option: str, wanted: str) -> None:
    word = f'{{ column = "k", option = "{option}" }}'
    assert reason(tmp_path, {"k": value, "o": [1.0, 2.5]}, key=word, choices='"o"') == wanted


def test_a_row_without_a_cot_gets_the_text_that_the_mapping_says(tmp_path: Path) -> None:
    word = '{ column = "c", missing = "No working." }'
    assert [parts(tmp_path, {"c": text}, cot=word).cot for text in ("So.", "", " \n", None)] == [
        "So.",
        *["No working."] * 3,
    ]
    assert parts(tmp_path, {}, cot='{ missing = "No working." }').cot == "No working."
    (tmp_path / "mine.toml").write_text(f'prompt = "q"\ncot = {word}\nkey = "k"\n')
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "c": null, "k": "1"}\n{"q": "b", "c": "So.", "k": "2"}\n')
    config = BuildConfig(source=str(tmp_path / "mine.toml"), inputs=(str(tmp_path / "rows.jsonl"),))
    for template in ("sftkey", "think-boxed", "boxed", "hash", "plain"):
        manifest = build(BuildConfig(**vars(config) | {"template": template}), tmp_path / template)
        assert manifest.counts.written == 2
        assert "No working." in open_shards(tmp_path / template)["completion"][0].as_py()


def test_a_cot_column_that_no_row_has_is_refused_whatever_is_missing(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('prompt = "q"\ncot = { column = "cc", missing = "None." }\nkey = "k"\n')
    (tmp_path / "rows.jsonl").write_text('{"q": "a", "c": "b", "k": "1"}\n')
    config = BuildConfig(source=str(tmp_path / "mine.toml"), inputs=(str(tmp_path / "rows.jsonl"),))
    with pytest.raises(SFTKeyError, match=r"column 'cc' is missing"):
        build(config, tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"key": '{ colum = "k" }'}, r"mine.toml: unknown key 'key.colum' \(did you mean 'column'\?\); known: column"),
        ({"cot": ""}, "mine.toml: key 'cot' is missing; where no row has a CoT, say"),
        ({"kez": '"k"'}, r"mine.toml: unknown key 'kez' \(did you mean 'key'\?\)"),
        ({"choices": '{ column = "o", label = true }'}, r"unknown key 'choices.label' \(did you mean 'labels'\?\)"),
        ({"prompt": '{ column = "q", missing = "x" }'}, "unknown key 'prompt.missing'"),
        ({"key": '{ column = "k", take = "any" }'}, "mine.toml: key.take: Input should be 'only', 'first' or 'last'"),
        ({"key": '{ column = "k", columns = ["q"] }'}, "mine.toml: key: expected either `column` or `columns`"),
        ({"key": "{ boxed = true }"}, "mine.toml: key: expected either `column` or `columns`"),
        ({"key": '{ column = "k", boxed = true, regex = "x" }'}, "key: expected `regex` or `boxed`, not both"),
        ({"key": '{ column = "k", option = "index" }'}, "key.option needs `choices`"),
        ({"list_choices": "true"}, "list_choices needs `choices`"),
        ({"cot": '{ missing = " " }'}, "cot: `missing` is blank"),
        (
            {"choices": '{ columns = ["a", "b"], separator = "|" }'},
            "choices: `separator` is of one column",
        ),
        ({"choices": "{ labels = true }"}, "choices: expected either `column` or `columns`"),
        (
            {"choices": '{ column = "o", labels = true, separator = "|" }'},
            "choices: expected `labels` or a `separator`",
        ),
        ({"key": "{ column = 'k', regex = '(' }"}, "mine.toml: key: broken regex"),
        ({"prompt": "3"}, "mine.toml: prompt: "),
    ],
)
def test_a_word_that_is_not_known_is_one_line_with_file_and_key(
    tmp_path: Path, words: dict[str, str], says: str
) -> None:
    with pytest.raises(SFTKeyError, match=says) as raised:
        parts(tmp_path, {}, **words)
    assert "\n" not in str(raised.value)
