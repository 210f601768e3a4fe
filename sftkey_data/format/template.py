"""The one definition of the output format: the build writes with it, the evaluation reads with it.

A template is data: four strings around the CoT and the Key, and four flags. `reading` reads with it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.extract.parts import Reject
from sftkey_data.format.marks import Malformed, Marks, Spans, exact_marks, loose_marks
from sftkey_data.format.reading import Reading, read
from sftkey_data.format.scanner import MarkedText, find_spans

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        tags = self.tags
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
        if cot and key and self._once_in_each([completion]) and self._plain_keys([key]):
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
        if self._once_in_each(completions) and self._plain_keys(keys):
            unsure = np.flatnonzero((spans[:, 0] == spans[:, 1]) | (spans[:, 3] == spans[:, 4])).tolist()
        else:
            unsure = [
                row
                for row, (cot, key) in enumerate(zip(cots, keys, strict=True))
                if not (cot and key and self._once_in_each(completions[row : row + 1]) and self._plain_keys([key]))
            ]
        return completions, spans, unsure

    def _once_in_each(self, completions: Sequence[str]) -> bool:
        """Whether no row holds a mark besides those that were written."""
        # NUL stands in no mark (see `_found_where_written`), so none is found across the end of a row
        joined = "\0".join(completions)
        return self._found_where_written and all(joined.count(tag) == len(completions) for tag in self.tags.values())

    def _plain_keys(self, keys: Sequence[str]) -> bool:
        """Whether none of the Keys can be cut short or run on, whatever else they hold."""
        if self.balanced:
            together = "\0".join(keys)
            return not ("{" in together or "}" in together or "\\" in together)
        if self.to_end:
            # with what is written after it: that may be of two lines, or make `. ` of a Key's own full stop
            close, tail = self.after_key.strip(), f"{self.after_key.rstrip()}\0"
            written = tail.join([*keys, ""])
            return "\n" not in written and not (close and f"{close} " in written)
        return True

    def read(self, completion: str, finish_reason: str | None = None) -> Reading:
        """Read a raw completion once, at every level; never raises on any text.

        Args:
            completion: What the model wrote, before any stripping.
            finish_reason: `stop`, `length` (the generation hit its token limit) or unknown.
        """
        return read(self.marks, completion, finish_reason)

    def parse(self, completion: str, finish_reason: str | None = None) -> tuple[str, str]:
        """(cot, key) of a raw completion, at level `strict`; arguments as of `read`.

        Raises:
            Malformed: With a code; `truncated` where the token limit explains what is missing.
        """
        spans = self.locate(completion, finish_reason)
        return completion[spans.cot_start : spans.cot_end], completion[spans.key_start : spans.key_end]

    def locate(self, completion: str, finish_reason: str | None = None, *, tolerant: bool = False) -> Spans:
        """Like `parse`, returning positions; at level `tolerant` where asked."""
        return find_spans(MarkedText(self.marks, completion), finish_reason, tolerant=tolerant)

    @cached_property
    def tags(self) -> dict[str, str]:
        """The marks to look for by kind, without the white space around them."""
        written = {
            "cot_open": self.before_cot,
            "cot_close": self.after_cot,
            "key_open": self.before_key,
            "key_close": "" if self.balanced or self.to_end else self.after_key,
        }
        return {kind: tag.strip() for kind, tag in written.items() if tag.strip()}

    @cached_property
    def marks(self) -> Marks:
        """What reading looks for, made once."""
        return Marks(
            exact=exact_marks(self.tags),
            loose=loose_marks(self.tags),
            close=self.after_key.strip(),
            tagged_cot="cot_open" in self.tags,
            balanced=self.balanced,
            last=self.last,
            to_end=self.to_end,
            free_text=self.free_text,
        )

    @cached_property
    def _found_where_written(self) -> bool:
        """Whether a mark that stands once is found just where it was put, whatever text stands before it.

        `####` after `x #` would be found one character early, after a line break it is not.
        """
        texts = {"cot_close": self.after_cot, "key_open": self.before_key, "key_close": self.after_key}

        def can_begin_early(kind: str, tag: str) -> bool:
            overlaps_itself = any(tag.startswith(tag[shift:]) for shift in range(1, len(tag)))
            return overlaps_itself and kind in texts and not texts[kind][0].isspace()

        return not any("\0" in tag or can_begin_early(kind, tag) for kind, tag in self.tags.items())

    def _refuse_tags(self, cot: str, key: str) -> None:
        for part, value in (("cot", cot), ("key", key)):
            if not value:
                raise Reject(f"empty_{part}", f"the {part} is empty")
            if found := self.marks.exact.search(value):
                raise Reject(f"tag_in_{part}", f"the {part} holds {found.group()!r}, a mark of template {self.name!r}")


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
