"""A model's own CoT with the gold Key behind it: the text under which the exposure gap is measured."""

from collections.abc import Iterator
from contextlib import suppress

from sftkey_data.format.marks import Malformed, Spans
from sftkey_data.format.scanner import scan
from sftkey_data.format.template import Template


def with_gold_key(
    completion: str, key: str, tail: str, template: Template, finish_reason: str | None = None
) -> tuple[str, Spans]:
    r"""The completion up to where its Key begins, then the gold Key and what follows it in the gold completion.

    What the completion holds from its Key on does not matter: `<Answer>\n4` that was cut off has a CoT too. Of several
    Keys the template says which one counts, else the first; text and loose marks that only the level `strict` refuses
    are kept, as the model wrote them.

    Args:
        completion: Raw text of the model.
        key: The gold Key.
        tail: What follows the Key in the gold completion.
        template: What the completion is read with.
        finish_reason: Of the completion; only the code of a `Malformed` depends on it.

    Returns:
        The text, and where its parts are; the Key reads back as `key`.

    Raises:
        Malformed: No CoT can be cut, under the code of the completion; `not_read_back` where it has none.
    """
    for before in _before_key(completion, template):
        text = f"{before}{key}{tail}"
        for tolerant in (False, True):
            try:
                spans = template.locate(text, tolerant=tolerant)
            except Malformed:
                continue
            if (spans.key_start, spans.key_end) == (len(before), len(before) + len(key)):
                return text, spans
    raise Malformed(template.read(completion, finish_reason).strict or "not_read_back")


def _before_key(completion: str, template: Template) -> Iterator[str]:
    """What may stand before the Key, the likeliest first."""
    with suppress(Malformed):
        yield completion[: template.locate(completion).key_start]
    # Not read as a whole, for example cut off within the Key: whatever opens one, exact marks before loose ones.
    for pattern in (template.marks.exact, template.marks.loose):
        if opened := [mark for mark in scan(pattern, completion) if mark.kind == "key_open"]:
            end = opened[-1 if template.last else 0].end
            yield completion[:end] + _gap(completion[end:], template)


def _gap(rest: str, template: Template) -> str:
    """White space between the mark and the Key: the model's, and where it wrote nothing there the template's."""
    written = rest[: len(rest) - len(rest.lstrip())]
    return written if rest else template.before_key[len(template.before_key.rstrip()) :]
