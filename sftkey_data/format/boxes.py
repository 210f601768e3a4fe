r"""Finding and unwrapping `\boxed{…}` in LaTeX, with balanced braces."""

import re
from dataclasses import dataclass

_COMMANDS = ("\\boxed", "\\fbox")
# A box without braces inside is found whole. The alternative before the last skips an escaped brace, and `\\` whole: in
# `\\boxed` a line break stands before a word.
_TOKEN = re.compile(
    r"\\(?:boxed|fbox)(?![A-Za-z])\s*(?:\{(?P<flat>[^\\{}]*+)\})?|\\.|[{}]",
    re.DOTALL,
)
_SINGLE = re.compile(r"\\[A-Za-z]+|[^\s{}\\$]+")  # `\boxed 2`: one run, as TeX authors use it


@dataclass(frozen=True, slots=True)
class Box:
    r"""One `\boxed{content}`: the whole is `[start, end)`, the content `[content_start, content_end)`."""

    start: int
    end: int
    content_start: int
    content_end: int


def find_boxes(text: str) -> list[Box]:
    r"""Every closed box by its start, nested ones included; an unclosed box is not listed. Linear time."""
    first = min((at for command in _COMMANDS if (at := text.find(command)) >= 0), default=-1)
    if first < 0:
        return []
    while first and text[first - 1] == "\\":  # a token may begin at the first of several backslashes only
        first -= 1
    boxes: list[Box] = []
    stack: list[tuple[int, int] | None] = []  # (box start, content start) of an open box, None for another brace
    pending: int | None = None  # start of a \boxed whose brace must come next
    for found in _TOKEN.finditer(text, first):
        token = found.group()
        if found["flat"] is not None:
            boxes.append(Box(found.start(), found.end(), *found.span("flat")))
        elif token == "{":
            stack.append((pending, found.end()) if pending is not None else None)
            pending = None
        elif token == "}" and stack:
            if (opened := stack.pop()) is not None:
                boxes.append(Box(opened[0], found.end(), opened[1], found.start()))
        elif token.startswith(_COMMANDS):
            brace_follows = text.startswith("{", found.end())
            pending = found.start() if brace_follows else None
            if not brace_follows and (single := _SINGLE.match(text, found.end())):
                boxes.append(Box(found.start(), single.end(), single.start(), single.end()))
    return sorted(boxes, key=lambda box: box.start)


def boxed_texts(text: str) -> list[str]:
    """The content of every closed box, in order; a box inside another is unwrapped."""
    found, end = list[str](), 0
    for box in find_boxes(text):
        if box.start >= end:
            found.append(unwrap(text[box.content_start : box.content_end]))
            end = box.end
    return found


def unwrap(text: str) -> str:
    r"""The text with every `\boxed{content}` replaced by its content."""
    cuts = [cut for box in find_boxes(text) for cut in ((box.start, box.content_start), (box.content_end, box.end))]
    parts, position = [], 0
    for start, end in sorted(cuts):
        parts.append(text[position:start])
        position = max(position, end)
    return "".join([*parts, text[position:]])
