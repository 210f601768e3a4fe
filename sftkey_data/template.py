"""The one definition of the output format: the build writes with it, the evaluation reads with it.

A template is data: four strings around the CoT and the Key, and four flags. Reading is one pass over the completion
that lists every mark, then a decision over that list; nothing backtracks, so the cost is linear in the length.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract import Reject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRUNCATION_EXPLAINS = frozenset({"empty", "missing_cot", "unclosed_cot", "missing_key", "unclosed_key"})


class Malformed(Exception):  # noqa: N818 - a finding about a completion, not a fault of the program
    """A completion that does not parse, under a code that is counted in the report."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Spans(NamedTuple):
    """Half-open code-point positions in a completion; `cot_tag_end` is the end of the closing CoT tag."""

    cot_start: int
    cot_end: int
    cot_tag_end: int
    key_start: int
    key_end: int


@dataclass(frozen=True, slots=True)
class _Mark:
    kind: str  # cot_open, cot_close, key_open, key_close
    start: int
    end: int


@dataclass(frozen=True)
class Template:
    r"""How CoT and Key are written into a completion and read back.

    Args:
        name: Shown in manifests and reports.
        before_cot: Text before the CoT. White space around the tags is free when reading.
        after_cot: Text after the CoT.
        before_key: Text before the Key; must not be blank.
        after_key: Text after the Key. Blank: the Key is the rest of the line.
        balanced: The Key ends at the brace that balances the one ending `before_key`, as in `\boxed{KEY}`.
        last: Only the last Key mark counts; earlier ones are text of the CoT (or of what follows it).
        to_end: The Key runs to the end of the completion, less `after_key`, as in `The answer is KEY.`
        free_text: Text between the CoT and the Key, and after the Key, is allowed.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    before_cot: str = ""
    after_cot: str = ""
    before_key: str = ""
    after_key: str = ""
    balanced: bool = False
    last: bool = False
    to_end: bool = False
    free_text: bool = False

    def __post_init__(self) -> None:
        tags = self._tags
        if "key_open" not in tags:
            raise SFTKeyError(f"template {self.name!r}: before_key is blank, expected a mark that begins the Key")
        if ("cot_open" in tags) != ("cot_close" in tags):
            raise SFTKeyError(f"template {self.name!r}: before_cot and after_cot must both hold a tag, or neither")
        if len(set(tags.values())) != len(tags):
            raise SFTKeyError(f"template {self.name!r}: two of its four marks are the same text: {tags}")
        if self.balanced and not (tags["key_open"].endswith("{") and self.after_key.strip().startswith("}")):
            raise SFTKeyError(
                f"template {self.name!r}: balanced needs before_key to end in '{{', after_key to begin '}}'"
            )
        if not (self.balanced or self.to_end or "key_close" in tags):
            raise SFTKeyError(f"template {self.name!r}: after_key is blank: name a closing mark or set to_end = true")

    @property
    def digest(self) -> str:
        """SHA-256 over the content, the name included; equal digests read and write the same."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def render(self, cot: str, key: str) -> tuple[str, Spans]:
        """Write a completion.

        White space around CoT and Key is dropped, as reading cannot see it.

        Returns:
            The completion and where its parts are.

        Raises:
            Reject: `empty_cot`, `empty_key`, `tag_in_cot`, `tag_in_key`, or `not_read_back` when parsing the completion
                gives another CoT or Key.
        """
        cot, key = cot.strip(), key.strip()
        cot_start = len(self.before_cot)
        cot_end = cot_start + len(cot)
        key_start = cot_end + len(self.after_cot) + len(self.before_key)
        completion = f"{self.before_cot}{cot}{self.after_cot}{self.before_key}{key}{self.after_key}"
        cot_tag_end = cot_end + len(self.after_cot.rstrip())
        spans = Spans(cot_start, cot_end, cot_tag_end, key_start, key_start + len(key))
        if cot and key and self._once_in_each([completion]) and self._plain_keys(key):
            return completion, spans
        self._refuse_tags(cot, key)
        try:
            found = self.locate(completion)
        except Malformed as malformed:
            raise Reject("not_read_back", f"the rendered completion is malformed: {malformed.code}") from None
        if found != spans:
            raise Reject("not_read_back", f"the Key reads back as {completion[found.key_start : found.key_end]!r}")
        return completion, spans

    def render_batch(
        self, cots: Sequence[str], keys: Sequence[str]
    ) -> "tuple[list[str], NDArray[np.int64], list[int]]":
        """Write many completions at once, where that is certain to give what `render` gives.

        Each mark stands at least once in every row, where it was put; as many of a mark as rows in all of them together
        therefore means once in each, and the scanner finds exactly these marks in this order.

        Returns:
            Completions; spans of shape (num_rows, 5), columns as `Spans`; and the rows that `render` has to decide,
            whose entries mean nothing.
        """
        import numpy as np

        cots, keys = [cot.strip() for cot in cots], [key.strip() for key in keys]
        head, middle, tail = self.before_cot, self.after_cot + self.before_key, self.after_key
        completions = [f"{head}{cot}{middle}{key}{tail}" for cot, key in zip(cots, keys, strict=True)]
        spans = np.empty((len(cots), len(Spans._fields)), np.int64)
        spans[:, 0] = len(head)
        spans[:, 1] = np.fromiter(map(len, cots), np.int64, len(cots)) + len(head)
        spans[:, 2] = spans[:, 1] + len(self.after_cot.rstrip())
        spans[:, 3] = spans[:, 1] + len(middle)
        spans[:, 4] = np.fromiter(map(len, keys), np.int64, len(keys)) + spans[:, 3]
        if self._once_in_each(completions) and self._plain_keys("\0".join(keys)):
            unsure = np.flatnonzero((spans[:, 0] == spans[:, 1]) | (spans[:, 3] == spans[:, 4])).tolist()
        else:
            unsure = [
                row
                for row, (cot, key) in enumerate(zip(cots, keys, strict=True))
                if not (cot and key and self._once_in_each(completions[row : row + 1]) and self._plain_keys(key))
            ]
        return completions, spans, unsure

    def _once_in_each(self, completions: Sequence[str]) -> bool:
        """Whether no row holds a mark besides those that were written."""
        joined = "\0".join(completions)
        return self._found_where_written and all(joined.count(tag) == len(completions) for tag in self._tags.values())

    def _plain_keys(self, keys: str) -> bool:
        """Whether none of the Keys in a text can be cut short or run on, whatever else they hold."""
        if self.balanced:
            return not ("{" in keys or "}" in keys or "\\" in keys)
        if self.to_end:
            close = self.after_key.strip()
            return "\n" not in keys and not (close and f"{close} " in keys)
        return True

    def parse(self, completion: str, finish_reason: str | None = None) -> tuple[str, str]:
        """Read (cot, key) from a raw completion.

        Args:
            completion: What the model wrote, before any stripping.
            finish_reason: `stop`, `length` (the generation hit its token limit) or unknown.

        Raises:
            Malformed: With a code; `truncated` where the token limit explains what is missing.
        """
        spans = self.locate(completion, finish_reason)
        return completion[spans.cot_start : spans.cot_end], completion[spans.key_start : spans.key_end]

    def locate(self, completion: str, finish_reason: str | None = None) -> Spans:
        """Like `parse`, returning positions."""
        truncated = finish_reason == "length"
        if truncated and self.to_end and self.key_close_is_open:
            raise Malformed("truncated")  # nothing closes the Key, so its last token may be missing
        try:
            return self._locate(completion)
        except Malformed as malformed:
            if truncated and malformed.code in TRUNCATION_EXPLAINS:
                raise Malformed("truncated") from None
            raise

    @property
    def key_close_is_open(self) -> bool:
        """Whether a completion may end anywhere in the Key and still look complete."""
        return not self.after_key.strip()

    @cached_property
    def _tags(self) -> dict[str, str]:
        written = {
            "cot_open": self.before_cot,
            "cot_close": self.after_cot,
            "key_open": self.before_key,
            "key_close": "" if self.balanced or self.to_end else self.after_key,
        }
        return {kind: tag.strip() for kind, tag in written.items() if tag.strip()}

    @cached_property
    def _scanner(self) -> re.Pattern[str]:
        # Longest first, so that a tag that begins another is not read in its place. Fixed strings: linear time.
        tags = sorted(self._tags.items(), key=lambda item: -len(item[1]))
        return re.compile("|".join(f"(?P<{kind}>{re.escape(tag)})" for kind, tag in tags))

    @cached_property
    def _found_where_written(self) -> bool:
        """Whether a mark that stands once is found just where it was put, whatever text stands before it.

        `####` after `x #` would be found one character early, after a line break it is not.
        """
        texts = {"cot_close": self.after_cot, "key_open": self.before_key, "key_close": self.after_key}

        def can_begin_early(kind: str, tag: str) -> bool:
            overlaps_itself = any(tag.startswith(tag[shift:]) for shift in range(1, len(tag)))
            return overlaps_itself and kind in texts and not texts[kind][0].isspace()

        return not any("\0" in tag or can_begin_early(kind, tag) for kind, tag in self._tags.items())

    @property
    def _tagged_cot(self) -> bool:
        return "cot_open" in self._tags

    def _refuse_tags(self, cot: str, key: str) -> None:
        for part, value in (("cot", cot), ("key", key)):
            if not value:
                raise Reject(f"empty_{part}", f"the {part} is empty")
            if found := self._scanner.search(value):
                raise Reject(f"tag_in_{part}", f"the {part} holds {found.group()!r}, a mark of template {self.name!r}")

    def _locate(self, completion: str) -> Spans:
        if not completion or completion.isspace():
            raise Malformed("empty")
        marks = [_Mark(str(m.lastgroup), m.start(), m.end()) for m in self._scanner.finditer(completion)]
        if self.last:
            marks = _keep_last_key(marks)
        kinds = [mark.kind for mark in marks]
        cot_start, cot_tag_start, cot_tag_end = self._cot_borders(marks, kinds, completion)
        opened = marks[kinds.index("key_open")]
        key_start, key_end = self._key_borders(completion, opened, marks[kinds.index("key_open") + 1 :])
        if not self._tagged_cot:
            cot_tag_start = opened.start
        cot_start, cot_end = _strip(completion, cot_start, cot_tag_start)
        if cot_start == cot_end:
            raise Malformed("empty_cot" if self._tagged_cot else "missing_cot")
        return Spans(cot_start, cot_end, cot_tag_end if self._tagged_cot else cot_end, key_start, key_end)

    def _cot_borders(self, marks: list[_Mark], kinds: list[str], completion: str) -> tuple[int, int, int]:
        """Start of the CoT, start and end of its closing tag; also refuses a wrong order of marks."""
        if not self._tagged_cot:
            if "key_open" not in kinds:
                raise Malformed("missing_key")
            return 0, 0, 0
        self._refuse_order(kinds)
        opened, closed = marks[0], marks[1]
        if not _blank(completion, 0, opened.start):
            raise Malformed("text_before_cot")
        if not self.free_text and not _blank(completion, closed.end, marks[2].start):
            raise Malformed("text_before_key")
        return opened.end, closed.start, closed.end

    def _refuse_order(self, kinds: list[str]) -> None:
        """Check that the marks are cot_open, cot_close, key_open, … in this order; the first fault names the code."""
        if "cot_open" not in kinds:
            raise Malformed("missing_cot")
        first_cot, first_key = kinds.index("cot_open"), _index(kinds, "key_open")
        if first_key < first_cot:
            raise Malformed("wrong_order")
        if "cot_close" not in kinds:
            raise Malformed("unclosed_cot")
        if first_key == len(kinds):
            raise Malformed("missing_key")
        if kinds.count("cot_open") > 1 or kinds.count("cot_close") > 1:
            raise Malformed("repeated_cot")
        if kinds[:3] != ["cot_open", "cot_close", "key_open"]:
            raise Malformed("wrong_order")

    def _key_borders(self, completion: str, opened: _Mark, rest: list[_Mark]) -> tuple[int, int]:
        if any(mark.kind == "key_open" for mark in rest):
            raise Malformed("repeated_key")
        if self.balanced:
            end = _matching_brace(completion, opened.end)
            tail = end + len(self.after_key.strip())
        elif self.to_end:
            end = tail = self._open_key_end(completion, opened.end)
        else:
            closed = next((mark for mark in rest if mark.kind == "key_close"), None)
            if closed is None:
                raise Malformed("unclosed_key")
            end, tail = closed.start, closed.end
        key_start, key_end = _strip(completion, opened.end, end)
        if key_start == key_end:
            raise Malformed("empty_key")
        if not self.to_end and not self.free_text and not _blank(completion, tail, len(completion)):
            raise Malformed("text_after_key")
        return key_start, key_end

    def _open_key_end(self, completion: str, start: int) -> int:
        """End of a Key that nothing but the end of the completion closes; it must be one line."""
        close = self.after_key.strip()
        key_start, end = _strip(completion, start, len(completion))
        line_end = completion.find("\n", key_start, end)
        if line_end >= 0:
            raise Malformed("text_after_key")
        if close and key_start < end:
            if not completion.endswith(close, key_start, end):
                raise Malformed("unclosed_key")
            end -= len(close)
            if f"{close} " in completion[key_start:end]:
                raise Malformed("text_after_key")
        return end


def _keep_last_key(marks: list[_Mark]) -> list[_Mark]:
    """Drop every Key mark but the last, and that one too where it lies inside the tagged CoT."""
    keys = [mark for mark in marks if mark.kind == "key_open"]
    others = [mark for mark in marks if mark.kind != "key_open"]
    before_last = [mark.kind for mark in others if keys and mark.start < keys[-1].start]
    if not keys or (before_last == ["cot_open"] and "cot_close" in (mark.kind for mark in others)):
        return others
    return sorted([*others, keys[-1]], key=lambda mark: mark.start)


def _index(kinds: list[str], kind: str) -> int:
    return kinds.index(kind) if kind in kinds else len(kinds)


def _blank(text: str, start: int, end: int) -> bool:
    return start >= end or not text[start:end].strip()


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Narrow [start, end) by the white space at both ends."""
    part = text[start:end]
    left = len(part) - len(part.lstrip())
    return (start + left, start + left + len(part.strip())) if part.strip() else (start, start)


_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is text: skip the backslash with what follows it


def _matching_brace(text: str, start: int) -> int:
    """Position of the brace that closes the one just before `start`."""
    depth = 1
    for found in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if depth == 0:
            return found.start()
    raise Malformed("unclosed_key")


BUILTIN: Mapping[str, Template] = MappingProxyType(
    {
        template.name: template
        for template in (
            Template("sftkey", "<Thinking>\n", "\n</Thinking>", "\n<Answer>\n", "\n</Answer>"),
            Template("sftkey-compact", "<Thinking>", "</Thinking>", "<Answer>", "</Answer>"),
            Template("think-boxed", "<think>\n", "\n</think>", "\n\\boxed{", "}", balanced=True, last=True),
            Template("boxed", "", "", "\n\\boxed{", "}", balanced=True, last=True, free_text=True),
            Template("hash", "", "", "\n#### ", "", to_end=True),
            Template("plain", "", "", "\nThe answer is ", ".", to_end=True),
        )
    }
)


def load_template(name: str) -> Template:
    """A built-in template by name, or a user's own from a TOML file.

    Raises:
        SFTKeyError: Unknown name, missing file, or a file that does not describe a template.
    """
    if name in BUILTIN:
        return BUILTIN[name]
    if not name.endswith(".toml"):
        known = ", ".join(BUILTIN)
        raise SFTKeyError(f"template {name!r} is not known{nearest(name, BUILTIN)}; known: {known}, or a .toml file")
    from sftkey_data.config import read_toml

    return read_toml(Path(name), Template, what="template", defaults={"name": Path(name).stem})
