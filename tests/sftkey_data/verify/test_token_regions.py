"""The regions asked of each token, against the build's search: two methods, one definition."""

from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.extract import Reject
from sftkey_data.format.marks import Spans
from sftkey_data.tokens.borders import token_borders
from sftkey_data.tokens.tokenizer import Encoded
from sftkey_data.verify.token_regions import expected_numbers


@given(st.lists(st.integers(0, 4), min_size=8, max_size=20), st.lists(st.integers(0, 999), min_size=6, max_size=6))
def test_each_token_and_the_search_agree_on_every_text(widths: list[int], places: list[int]) -> None:
    ends = [sum(widths[: n + 1]) for n in range(len(widths))]
    starts = [end - width for end, width in zip(ends, widths, strict=True)]
    prompt, cot_start, cot_end, tag_end, key_start, key_end = sorted(place % (ends[-1] + 1) for place in places)
    spans = Spans(cot_start - prompt, cot_end - prompt, tag_end - prompt, key_start - prompt, key_end - prompt)
    expected = expected_numbers(list(zip(starts, ends, strict=True)), prompt, spans)
    try:
        found = token_borders(Encoded(list(range(len(widths))), starts, ends), prompt, spans)
    except Reject:
        assert expected is None or not 0 < expected["prompt_tokens"] <= expected["cot_token_end"]
        return
    assert expected == {name: getattr(found, name) for name in found.__slots__}
