"""The last answer of a conversation, read by a template: CoT, Key, and what belongs to neither."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from sftkey_data.datasets._chat_turns import Turn
from sftkey_data.extract import Reject
from sftkey_data.format.boxes import find_boxes, unwrap
from sftkey_data.format.marks import Malformed
from sftkey_data.format.template import BUILTIN, Template

DETECTED = ("sftkey", "sftkey-compact", "think-boxed", "hash", "boxed", "plain")
"""In the order in which they are tried: `boxed` reads nearly everything that holds a box."""

LeftOut = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """A CoT, a Key, and (name, text) of what stands around them."""

    cot: str
    key: str
    left_out: LeftOut = ()


def written_answer(turn: Turn, template: Template) -> str:
    """The turn as one text that the template can read: reasoning from elsewhere between the CoT's marks.

    A turn that only closes its CoT was opened by its prompt, so it is opened here.

    Raises:
        Reject: `two_cots` where a reasoning field and the content's own CoT differ.
    """
    content, reasoning = turn.content, turn.reasoning.strip()
    opening, closing = template.before_cot.strip(), template.after_cot.strip()
    if not closing:
        return f"{reasoning}\n\n{content}" if reasoning else content
    if not reasoning:
        only_closed = content.count(closing) == 1 and opening not in content
        return f"{template.before_cot}{content.lstrip()}" if only_closed else content
    reasoning = reasoning.removeprefix(opening).removesuffix(closing).strip()
    if closing in content:
        own, _, rest = content.partition(closing)
        own = own.replace(opening, "", 1).strip()
        if own and own != reasoning:
            raise Reject("two_cots", f"{turn.place} has reasoning beside a content that holds another {closing}")
        content = rest.lstrip()
    return f"{template.before_cot}{reasoning}{template.after_cot}\n{content}"


def read_answer(content: str, template: Template) -> Answer:
    """What the template reads of an answer.

    Raises:
        Malformed: As of `Template.parse`.
    """
    spans = template.locate(content)
    cot, key = content[spans.cot_start : spans.cot_end], content[spans.key_start : spans.key_end]
    between = content[spans.cot_tag_end : spans.key_start].rstrip().removesuffix(template.before_key.strip())
    after = content[spans.key_end :].lstrip().removeprefix(template.after_key.strip())
    around = (("text_before_key", between.strip()), ("text_after_key", after.strip()))
    answer = Answer(cot, key, tuple((name, text) for name, text in around if text))
    return unboxed(answer) if is_boxed(template) else answer


def rest_answer(content: str, template: Template) -> Answer:
    """The CoT between its marks, and all that follows as the Key.

    Raises:
        Reject: `missing_cot`, `missing_key`.
    """
    cot, rest = marked_cot(content, template, "missing_cot")
    if not rest.strip():
        raise Reject("missing_key", "nothing follows the CoT")
    return Answer(cot, rest.strip())


def gold_answer(content: str, template: Template, code: str, gold: str) -> Answer:
    """The CoT of an answer that the template does not read, and a Key from elsewhere."""
    cot, rest = marked_cot(content, template, code) if template.after_cot.strip() else (content, "")
    answer = Answer(cot, gold, (("answer_text", rest.strip()),) if rest.strip() else ())
    return unboxed(answer) if is_boxed(template) else answer


def marked_cot(content: str, template: Template, code: str) -> tuple[str, str]:
    """What stands between the CoT's marks, each of which must stand there once, and what follows.

    Raises:
        Reject: Under the code.
    """
    opening, closing = template.before_cot.strip(), template.after_cot.strip()
    before, found, rest = content.partition(opening)
    cot, closed, after = rest.partition(closing)
    if before.strip() or not (found and closed) or opening in rest or closing in after:
        raise Reject(code, f"the answer must hold one {opening}…{closing}")
    return cot, after


def unboxed(answer: Answer) -> Answer:
    """The answer with no box in its CoT, where a template's own would be looked for."""
    cot = unwrap(answer.cot)
    if cot == answer.cot:
        return answer
    boxes = ", ".join(answer.cot[box.start : box.end] for box in find_boxes(answer.cot))
    return answer._replace(cot=cot, left_out=(*answer.left_out, ("boxes_in_cot", boxes)))


def is_boxed(template: Template) -> bool:
    """Whether the Key stands in a LaTeX box."""
    return template.before_key.rstrip().endswith("boxed{")


def tags_of_another(content: str, template: Template) -> str | None:
    """A CoT tag of a built-in template in an answer that a template without such tags would take for text."""
    if template.after_cot.strip():
        return None
    return next((tag for tag in _TAGS if tag in content), None)


_TAGS = tuple(
    dict.fromkeys(tag.strip() for t in BUILTIN.values() for tag in (t.before_cot, t.after_cot) if tag.strip())
)


class Found(NamedTuple):
    """Which built-in template reads how many of some answers, and how many it reads without `free_text`."""

    read: Counter[str]
    strictly: Counter[str]

    @property
    def best(self) -> str:
        """The one that reads the most."""
        return max(DETECTED, key=lambda name: (self.read[name], -DETECTED.index(name)))


def detect_template(turns: Sequence[Turn]) -> Found:
    """Count the answers by the template that they are written in; one that none reads is not counted."""
    found = Found(Counter(), Counter())
    exact = Counter[str]()
    for turn in turns:
        for name in DETECTED:
            if (answer := _tried(turn, BUILTIN[name])) is not None:
                found.read[name] += 1
                found.strictly[name] += not answer.left_out or BUILTIN[name].free_text
                break
        exact.update(name for name in ("sftkey", "sftkey-compact") if is_exact(turn, BUILTIN[name]))
    if exact["sftkey-compact"] > exact["sftkey"]:  # their marks are the same, but for white space
        for counter in found:
            counter["sftkey-compact"] = counter.pop("sftkey", 0)
    return found


def _tried(turn: Turn, template: Template) -> Answer | None:
    """The answer as a template reads it, text around its parts allowed; None where it is not one of the template's."""
    tagged = bool(template.after_cot.strip())
    own_tags = [tag for tag in (template.before_cot.strip(), template.after_cot.strip()) if tag and tag in turn.content]
    if tagged and not (own_tags or turn.reasoning):
        return None
    if tags_of_another(turn.content, template):
        return None
    try:
        text = written_answer(turn, template)
        answer = read_answer(text, replace(template, free_text=True))
    except (Malformed, Reject):
        return None
    if not (tagged or is_boxed(template)) and find_boxes(answer.key):
        return None  # `#### \\boxed{4}` is read by the box
    return answer._replace(left_out=tuple(entry for entry in answer.left_out if entry[0] != "boxes_in_cot"))


def is_exact(turn: Turn, template: Template) -> bool:
    """Whether the template writes the turn's CoT and Key just as they stand in it."""
    try:
        return template.render(*template.parse(turn.content))[0] == turn.content
    except (Malformed, Reject):
        return False
