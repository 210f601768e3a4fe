"""A CoT that is too long loses its middle, at white space."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.extract import Reject
from sftkey_data.prepare.shorten import LINE_SHARE, MARKER, shorten_cot
from sftkey_data.tokens.tokenizer import load_tokenizer

WORDS = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=6).filter(lambda w: "…" not in w)
SPACES = st.sampled_from([" ", "  ", "\n", "\n\n", "\t"])
COTS = st.lists(st.tuples(WORDS, SPACES), min_size=3, max_size=60).map(lambda pairs: "".join(map("".join, pairs)))


def count_words(cot: str) -> int:
    return len(cot.split())


def numbered(num: int, per_line: int) -> str:
    return "".join(f"w{i}" + ("\n" if i % per_line == per_line - 1 else " ") for i in range(num)).strip()


@given(COTS, st.integers(3, 70), st.sampled_from([len, count_words, lambda cot: len(cot.encode())]))
def test_a_shortened_cot_fits_and_keeps_its_ends_whole(
    cot: str, max_tokens: int, num_tokens: Callable[[str], int]
) -> None:
    try:
        shorter = shorten_cot(cot, num_tokens, max_tokens)
    except Reject:
        ends = re.sub(r"(?s)^(\s*\S+).*?(\S+\s*)$", rf"\1{MARKER}\2", cot)
        assert len(cot.split()) < 3 or num_tokens(ends) > max_tokens
        return
    assert num_tokens(shorter) <= max_tokens
    assert shorter.count(MARKER) == 1
    head, tail = shorter.split(MARKER)
    assert cot.startswith(head)
    assert cot.endswith(tail)
    assert len(head) + len(tail) < len(cot)
    assert re.match(r"\s", cot[len(head) :])
    assert re.search(r"\s$", cot[: len(cot) - len(tail)])
    assert head.strip()
    assert tail.strip()
    assert shorten_cot(cot, num_tokens, max_tokens) == shorter


@given(COTS, st.integers(3, 70))
def test_a_shortened_cot_is_the_longest_but_for_the_share_given_up_for_lines(cot: str, max_tokens: int) -> None:
    words = cot.split()
    if len(words) <= max_tokens:
        return
    shorter = shorten_cot(cot, count_words, max_tokens)
    head, tail = shorter.split(MARKER)
    kept = max_tokens - 1  # the marker is one of the words counted
    assert kept - int(LINE_SHARE * kept) <= len(head.split()) + len(tail.split()) <= kept
    assert abs(len(head.split()) - len(tail.split())) <= 1 + int(LINE_SHARE * kept) // 2


def test_the_gap_is_in_the_middle_of_one_long_line() -> None:
    shorter = shorten_cot(numbered(100, 1000), count_words, 8)
    assert shorter == f"w0 w1 w2 w3{MARKER}w97 w98 w99"


def test_the_gap_grows_to_the_borders_of_lines_where_these_are_near() -> None:
    shorter = shorten_cot(numbered(200, 7), count_words, 101)
    head, tail = shorter.split(MARKER)
    assert head == numbered(49, 7)  # 50 words fit; the line ends after 49
    assert tail.split()[0] == "w154"  # 150 fits; a line begins at 22 * 7
    assert shorten_cot(numbered(200, 7), count_words, 81).split(MARKER)[0] == numbered(40, 7)  # 35 is too far off


def test_lines_that_would_have_more_tokens_are_not_taken() -> None:
    """No tokenizer gives fewer words more tokens by much; one that did would make the example too long."""
    at_words = shorten_cot(numbered(200, 7), count_words, 101)

    def odd(cot: str) -> int:
        return 1000 if cot == at_words else count_words(cot)

    head, tail = shorten_cot(numbered(200, 7), odd, 101).split(MARKER)
    assert (len(head.split()), len(tail.split())) == (50, 50)


@pytest.mark.parametrize("cot", ["", "word", "two words", "日本語の長い文章には空白がない"])
def test_a_cot_without_a_middle_is_rejected(cot: str) -> None:
    with pytest.raises(Reject, match="too_long: even with a CoT of two words"):
        shorten_cot(cot, lambda _: 9, 5)


def test_two_words_are_the_least() -> None:
    assert shorten_cot("a b c", count_words, 3) == f"a{MARKER}c"
    with pytest.raises(Reject, match="over 2 tokens"):
        shorten_cot("a b c", count_words, 2)


def test_the_tokens_are_counted_few_times() -> None:
    counted = []

    def count(cot: str) -> int:
        counted.append(cot)
        return count_words(cot)

    shorten_cot(numbered(10_000, 9), count, 700)
    assert len(counted) <= 15


@pytest.mark.parametrize("name", ["qwen2.5", "phi-3-mini"])
@pytest.mark.parametrize("max_tokens", [20, 60, 150])
def test_with_a_real_tokenizer_one_word_more_would_not_fit(shared_data: Path, name: str, max_tokens: int) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / name))
    cot = " ".join(f"Step {i}: {i} + {i * i} = {i + i * i}." for i in range(40))

    def count(text: str) -> int:
        return len(tokenizer(text)["input_ids"])

    shorter = shorten_cot(cot, count, max_tokens)
    head, tail = shorter.split(MARKER)
    assert count(shorter) <= max_tokens
    words, first, last = cot.split(), len(head.split()), len(tail.split())
    first, last = (first + 1, last) if first == last else (first, last + 1)
    assert count(" ".join(words[:first]) + MARKER + " ".join(words[-last:])) > max_tokens
