import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Reject
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN, Template, load_template

SFTKEY = BUILTIN["sftkey"]
every_template = pytest.mark.parametrize("template", BUILTIN.values(), ids=BUILTIN)


def code(template: Template, completion: str, finish_reason: str | None = "stop") -> str:
    with pytest.raises(Malformed) as raised:
        template.parse(completion, finish_reason)
    return raised.value.code


@every_template
def test_what_is_rendered_reads_back_at_the_same_place(template: Template) -> None:
    completion, spans = template.render("First 2 + 2 = 4.\n\nThen done.", "1,234")
    assert template.parse(completion) == ("First 2 + 2 = 4.\n\nThen done.", "1,234")
    assert completion[spans.key_start : spans.key_end] == "1,234"
    assert completion[spans.cot_start : spans.cot_end] == "First 2 + 2 = 4.\n\nThen done."
    assert template.locate(completion) == spans


def test_the_default_writes_the_key_on_its_own_line() -> None:
    completion, spans = SFTKEY.render("2+2=4", "4")
    assert completion == "<Thinking>\n2+2=4\n</Thinking>\n<Answer>\n4\n</Answer>"
    assert completion[: spans.cot_tag_end].endswith("</Thinking>")


def test_the_compact_template_has_no_line_breaks() -> None:
    assert BUILTIN["sftkey-compact"].render("a", "4")[0] == "<Thinking>a</Thinking><Answer>4</Answer>"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("think-boxed", "<think>\na\n</think>\n\\boxed{4}"),
        ("boxed", "a\n\\boxed{4}"),
        ("hash", "a\n#### 4"),
        ("plain", "a\nThe answer is 4."),
    ],
)
def test_builtin_templates_write_the_documented_text(name: str, expected: str) -> None:
    assert BUILTIN[name].render("a", "4")[0] == expected


def test_every_conformance_case_of_the_format_holds(shared_conformance: Path) -> None:
    for line in (shared_conformance / "format.jsonl").read_text().splitlines():
        case = json.loads(line)
        try:
            found = (True, None, SFTKEY.parse(case["completion"], case["finish_reason"])[1])
        except Malformed as malformed:
            found = (False, malformed.code, None)
        free = not case["format_valid"] and case["format_error"] is None
        assert (found[0], found[2]) == (case["format_valid"], case["predicted"]), case["id"]
        assert free or found[1] == case["format_error"], case["id"]


@pytest.mark.parametrize(
    ("completion", "finish_reason", "expected"),
    [
        ("", "stop", "empty"),
        (" \n\t", "stop", "empty"),
        ("The answer is 4.", "stop", "missing_cot"),
        ("<Answer>4</Answer>", "stop", "missing_cot"),
        ("<Thinking>a", "stop", "unclosed_cot"),
        ("<Thinking>a", "length", "truncated"),
        ("<Thinking>a</Thinking><Answer>4", "length", "truncated"),
        ("<Thinking>a</Thinking>", "length", "truncated"),
        ("<Thinking>a</Thinking>", None, "missing_key"),
        ("<Thinking>a</Thinking><Answer>4</Answer> and", "length", "text_after_key"),
        ("<Thinking>a</Thinking><Answer>4</Answer><Answer>5", "length", "repeated_key"),
        ("<Thinking>a</Thinking><Answer>4</Answer></Answer>", "stop", "text_after_key"),
        ("<Thinking>a</Thinking>so<Answer>4</Answer>", "stop", "text_before_key"),
        ("x<Thinking>a</Thinking><Answer>4</Answer>", "stop", "text_before_cot"),
        ("<Thinking> </Thinking><Answer>4</Answer>", "stop", "empty_cot"),
        ("<Thinking>a</Thinking><Answer> </Answer>", "stop", "empty_key"),
        ("<Thinking>a<Answer>4</Answer></Thinking>", "stop", "wrong_order"),
        ("<Thinking>a</Thinking><Thinking>b</Thinking><Answer>4</Answer>", "stop", "repeated_cot"),
        ("<Thinking>a</Thinking><Answer>4<Answer>5</Answer>", "stop", "repeated_key"),
        ("<Thinking><Thinking>a</Thinking><Answer>4</Answer>", "stop", "repeated_cot"),
        ("<Answer>4</Answer><Thinking>a", "length", "wrong_order"),
        ("a</Thinking><Answer>4</Answer>", "stop", "missing_cot"),
        ("</Answer><Thinking>a</Thinking><Answer>4</Answer>", "stop", "wrong_order"),
    ],
)
def test_each_fault_of_a_tagged_completion_has_its_code(completion: str, finish_reason: str, expected: str) -> None:
    assert code(SFTKEY, completion, finish_reason) == expected


def test_a_closed_key_is_valid_even_when_the_limit_was_hit_right_after_it() -> None:
    assert SFTKEY.parse("<Thinking>a</Thinking><Answer>4</Answer>", "length") == ("a", "4")


@pytest.mark.parametrize(
    ("name", "completion", "finish_reason", "expected"),
    [
        ("hash", "a\n#### 7", "length", "truncated"),
        ("hash", "a", "stop", "missing_key"),
        ("hash", "#### 7", "stop", "missing_cot"),
        ("hash", "a\n#### 7\nmore", "stop", "text_after_key"),
        ("hash", "a #### 7 #### 8", "stop", "repeated_key"),
        ("hash", "a ####", "stop", "empty_key"),
        ("plain", "a\nThe answer is 4", "stop", "unclosed_key"),
        ("plain", "a\nThe answer is 4. Bye.", "stop", "text_after_key"),
        ("plain", "a\nThe answer is 4.\nBye.", "stop", "text_after_key"),
        ("boxed", "a \\boxed{4", "stop", "unclosed_key"),
        ("boxed", "a \\boxed{4", "length", "truncated"),
        ("boxed", "\\boxed{4}", "stop", "missing_cot"),
        ("think-boxed", "<think>\\boxed{4}</think> not sure", "stop", "missing_key"),
        ("think-boxed", "<think>a</think> so \\boxed{4}", "stop", "text_before_key"),
        ("think-boxed", "<think>a</think>\\boxed{4} ok", "stop", "text_after_key"),
        ("think-boxed", "\\boxed{4}<think>a</think>", "stop", "wrong_order"),
        ("think-boxed", "<think>a \\boxed{4}", "stop", "unclosed_cot"),
    ],
)
def test_each_fault_of_the_other_templates_has_its_code(
    name: str, completion: str, finish_reason: str, expected: str
) -> None:
    assert code(BUILTIN[name], completion, finish_reason) == expected


@pytest.mark.parametrize(
    ("name", "completion", "key"),
    [
        ("boxed", r"so \boxed{3}, no, \boxed{\frac{1}{2}} units", r"\frac{1}{2}"),
        ("boxed", r"a \boxed{\left\{1\right.}", r"\left\{1\right."),
        ("boxed", r"a \boxed{x \\}", r"x \\"),
        ("think-boxed", "<think>first \\boxed{3}</think>\n\\boxed{4}", "4"),
        ("plain", "a\nThe answer is 3.5.", "3.5"),
        ("hash", "a\n####72  \n", "72"),
        ("sftkey", "\r\n<Thinking>\r\na\r\n</Thinking>\r\n\r\n<Answer>\r\n4\r\n</Answer>\n\n", "4"),
    ],
)
def test_white_space_braces_and_points_are_read_right(name: str, completion: str, key: str) -> None:
    assert BUILTIN[name].parse(completion)[1] == key


@pytest.mark.parametrize(
    ("name", "cot", "key", "reason"),
    [
        ("sftkey", "a </Answer> b", "4", "tag_in_cot"),
        ("sftkey", "a", "4 <Thinking>", "tag_in_key"),
        ("sftkey", " ", "4", "empty_cot"),
        ("sftkey", "a", "\n", "empty_key"),
        ("boxed", r"so \boxed{4}", "4", "tag_in_cot"),
        ("boxed", "a", "4}", "not_read_back"),
        ("hash", "a", "4\n5", "not_read_back"),
        ("plain", "a", "4. 5", "not_read_back"),
    ],
)
def test_what_would_not_read_back_is_rejected(name: str, cot: str, key: str, reason: str) -> None:
    with pytest.raises(Reject) as raised:
        BUILTIN[name].render(cot, key)
    assert raised.value.reason == reason


PIECES = [
    *"ab 1\n\\{}<>/#.é\u0301",
    "<Thinking>",
    "</Thinking>",
    "<Answer>",
    "</Answer>",
    "\\boxed{",
    "#### ",
    "The answer is ",
]
text = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


@every_template
@given(cot=text, key=text)
def test_render_reads_back_or_rejects(template: Template, cot: str, key: str) -> None:
    try:
        completion, spans = template.render(cot, key)
    except Reject:
        return
    assert template.parse(completion) == (cot.strip(), key.strip())
    assert template.locate(completion) == spans


SHOUT = Template("shout", before_key="##", to_end=True)  # a mark that overlaps itself, with nothing before it


@pytest.mark.parametrize("template", [*BUILTIN.values(), SHOUT], ids=[*BUILTIN, "shout"])
@given(pairs=st.lists(st.tuples(st.one_of(text, st.just("a")), st.one_of(text, st.just("4"))), max_size=6))
def test_a_batch_is_rendered_as_its_rows_are(template: Template, pairs: list[tuple[str, str]]) -> None:
    completions, spans, unsure = template.render_batch([cot for cot, _ in pairs], [key for _, key in pairs])
    for row, (cot, key) in enumerate(pairs):
        if row not in unsure:
            completion, expected = template.render(cot, key)
            assert (completions[row], tuple(spans[row])) == (completion, expected)
            assert template.locate(completion) == expected


@pytest.mark.parametrize(
    ("pairs", "unsure"),
    [
        ([("a", "4"), ("b", "5")], []),
        ([("a", "4"), ("b <Answer>", "5")], [1]),
        ([("a", "4"), (" ", "5"), ("c", "")], [1, 2]),
    ],
    ids=["plain", "a tag", "empty"],
)
def test_only_rows_that_may_go_wrong_are_rendered_alone(pairs: list[tuple[str, str]], unsure: list[int]) -> None:
    assert SFTKEY.render_batch([cot for cot, _ in pairs], [key for _, key in pairs])[2] == unsure


@pytest.mark.parametrize(("after_key", "key"), [("<\n>", "4"), (" .", "4."), (" a a", "a a")])
def test_what_is_written_after_a_key_may_not_run_on_either(after_key: str, key: str) -> None:
    template = Template("own", before_key="Key: ", after_key=after_key, to_end=True)
    with pytest.raises(Reject, match="not_read_back"):
        template.render("x", key)
    assert template.render_batch(["x"], [key])[2] == [0]


def test_a_mark_that_is_found_a_character_early_is_rejected() -> None:
    with pytest.raises(Reject, match="not_read_back"):
        SHOUT.render("x #", "4")


@every_template
@given(completion=st.one_of(st.text(), text), finish_reason=st.sampled_from(["stop", "length", None]))
def test_parse_raises_nothing_but_malformed(template: Template, completion: str, finish_reason: str | None) -> None:
    try:
        cot, key = template.parse(completion, finish_reason)
    except Malformed:
        return
    assert cot == cot.strip() != ""
    assert key == key.strip() != ""


@every_template
@pytest.mark.parametrize(
    "piece", ["<Answer>", "\\boxed{", "<Thinking>\n", "#### ", "The answer is ", "}", " \n", "<think>"]
)
def test_a_megabyte_of_marks_is_read_in_one_pass(template: Template, piece: str) -> None:
    with pytest.raises(Malformed):  # a quadratic scanner would not come back
        template.parse("<Thinking>" + piece * (1_000_000 // len(piece)))


def test_a_template_comes_from_a_toml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('before_cot = "[T]"\nafter_cot = "[/T]"\nbefore_key = "[A]"\nafter_key = "[/A]"\n')
    template = load_template(str(path))
    assert template.name == "mine"
    assert template.render("a", "4")[0] == "[T]a[/T][A]4[/A]"
    assert template.parse("[T] a [/T] [A] 4 [/A]") == ("a", "4")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('befor_key = "x"', "unknown key 'befor_key' (did you mean 'before_key'?)"),
        ('before_key = ""', "before_key is blank"),
        ('before_key = "A:"', "after_key is blank"),
        ('before_cot = "<t>"\nbefore_key = "A:"\nto_end = true', "must both hold a tag"),
        ('before_cot = "x"\nafter_cot = "x"\nbefore_key = "y"\nto_end = true', "are the same text"),
        ('before_key = "A"\nafter_key = "}"\nbalanced = true', "balanced needs before_key to end in '{'"),
        ("before_key = 3", "before_key"),
        ("before_key = ", "not a readable TOML file"),
    ],
)
def test_a_broken_template_file_is_one_clear_line(tmp_path: Path, content: str, expected: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(SFTKeyError, match="mine") as raised:
        load_template(str(path))
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(SFTKeyError, match="did you mean 'sftkey-compact'"):
        load_template("sftkey_compact")
    with pytest.raises(SFTKeyError, match="not found"):
        load_template("nowhere.toml")
