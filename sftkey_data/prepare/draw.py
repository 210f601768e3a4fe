"""Drawing a share of the questions, whatever the order of the rows, so that none is on both sides."""

from dataclasses import dataclass

import xxhash

from sftkey_data.extract.parts import Parts


@dataclass(frozen=True, slots=True)
class Draw:
    """A share of all questions, drawn by their hash under a seed; a smaller share is part of a larger one."""

    share: float
    seed: int = 0

    def takes(self, parts: Parts) -> bool:
        """Whether an example is drawn."""
        return self._is_inside(self.place(parts))

    def takes_row(self, position: int) -> bool:
        """Whether a row without a question is drawn, by its position in its input."""
        return self._is_inside(self._place(str(position)))

    def place(self, parts: Parts) -> int:
        """Where its question stands among all of them: below 2^64 * `share` is what is drawn.

        White space in the question, and in the turns before it, is no matter.
        """
        turns = [parts.prompt, *(text for turn in parts.history for text in turn)]
        return self._place("\0".join(" ".join(text.split()) for text in turns))

    def _place(self, content: str) -> int:
        return int(xxhash.xxh3_64_intdigest(content.encode("utf-8", "surrogatepass"), seed=self.seed))

    def _is_inside(self, place: int) -> bool:
        return place < self.share * 2.0**64
