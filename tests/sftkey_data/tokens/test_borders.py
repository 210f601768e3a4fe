"""Token borders on hand-made tokens: small enough to see that each number is right."""

import pytest

from sftkey_data.extract import Reject
from sftkey_data.format.marks import Spans
from sftkey_data.tokens.borders import token_borders
from sftkey_data.tokens.tokenizer import Encoded


def encoded(*tokens: str) -> Encoded:
    ends = [sum(map(len, tokens[: i + 1])) for i in range(len(tokens))]
    return Encoded(list(range(len(tokens))), [end - len(token) for end, token in zip(ends, tokens, strict=True)], ends)


# prompt "Q\n", completion "<T>a</T><A>72</A>": CoT "a" at [3, 4), its tag ends at 8, Key "72" at [11, 13)
SPANS = Spans(3, 4, 8, 11, 13)


def test_tokens_that_respect_every_border() -> None:
    borders = token_borders(encoded("Q", "\n", "<T>", "a", "</T>", "<A>", "72", "</A>"), 2, SPANS)
    assert (borders.prompt_tokens, borders.cot_token_end, borders.key_token_start) == (2, 5, 6)
    assert (borders.key_token_end, borders.answer_token_end, borders.straddle) == (7, 8, 0)


@pytest.mark.parametrize(
    ("tokens", "key", "straddle"),
    [
        (("Q\n", "<T>", "a", "</T>", "<A>7", "2", "</A>"), (4, 6), 1),
        (("Q\n", "<T>", "a", "</T>", "<A>", "7", "2</A>"), (5, 7), 2),
        (("Q\n", "<T>", "a", "</T>", "<A>72</A>"), (4, 5), 3),
        (("Q\n<T>", "a", "</T>", "<A>", "72", "</A>"), (4, 5), 4),
        (("Q\n", "<T>", "a", "</T><A>", "7", "2", "</A>"), (4, 6), 0),
    ],
    ids=["start", "end", "both", "prompt", "closing-tag"],
)
def test_every_token_that_touches_the_key_belongs_to_it(
    tokens: tuple[str, ...], key: tuple[int, int], straddle: int
) -> None:
    borders = token_borders(encoded(*tokens), 2, SPANS)
    assert (borders.key_token_start, borders.key_token_end) == key
    assert borders.straddle == straddle
    assert borders.cot_token_end <= borders.key_token_start


def test_a_token_over_the_closing_cot_tag_belongs_to_the_cot_and_one_that_reaches_the_key_to_the_key() -> None:
    assert token_borders(encoded("Q\n", "<T>", "a", "</T><A>", "72", "</A>"), 2, SPANS).cot_token_end == 4
    assert token_borders(encoded("Q\n", "<T>", "a", "</T><A>72", "</A>"), 2, SPANS).cot_token_end == 3


def test_one_character_in_several_tokens_is_covered_whole() -> None:
    tokens = Encoded([0, 1, 2, 3, 4], [0, 2, 13, 13, 14], [2, 13, 14, 14, 18])
    borders = token_borders(tokens, 2, Spans(3, 4, 8, 11, 12))
    assert (borders.key_token_start, borders.key_token_end) == (2, 4)


def test_a_special_token_before_the_text_belongs_to_the_prompt() -> None:
    plain = encoded("Q\n", "<T>", "a", "</T>", "<A>", "72", "</A>")
    with_bos = Encoded([99, *plain.ids], [0, *plain.starts], [0, *plain.ends])
    assert token_borders(with_bos, 2, SPANS).prompt_tokens == 2


def test_a_key_that_no_token_touches_is_rejected() -> None:
    with pytest.raises(Reject, match="key_without_token"):
        token_borders(Encoded([0, 1], [0, 2], [2, 13]), 2, SPANS)
