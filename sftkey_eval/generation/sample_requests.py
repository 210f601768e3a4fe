"""One request per sample of an item, and the completion that answers it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sftkey_eval.generation.prompt_items import Item


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to make: the `sample`-th of an item, under an id of its own, with its own seed."""

    id: str
    item: Item
    sample: int
    seed: int

    def row(self, generated: "Generated") -> dict[str, Any]:
        """The line of the completions file."""
        place = {"id": self.id, "item_id": self.item.id, "sample": self.sample}
        return {**self.item.row, **place, "completion": generated.text, "finish_reason": generated.finish_reason}


@dataclass(frozen=True, slots=True)
class Generated:
    """One completion.

    Args:
        text: Raw, as the model wrote it.
        finish_reason: `stop` or `length`; None where the back-end does not say.
        num_tokens: How many were sampled, EOS included; 0 where the back-end does not say.
    """

    text: str
    finish_reason: str | None
    num_tokens: int


def requests_for(items: Sequence[Item], num_samples: int, seed: int) -> list[Request]:
    """Every sample of every item, in the order of the items; a single sample has the item's own id, others `ID#N`."""
    return [
        Request(
            item.id if num_samples == 1 else f"{item.id}#{sample}", item, sample, sample_seed(seed, item.id, sample)
        )
        for item in items
        for sample in range(num_samples)
    ]


def sample_seed(seed: int, item_id: str, sample: int) -> int:
    """Seed of one completion, in [0, 2^31).

    It does not depend on a place in a batch or a file, so it is the same after an interruption, with a limit, and for a
    larger number of samples.
    """
    digest = hashlib.sha256(f"{seed}\0{sample}\0{item_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1  # servers take what fits a signed 32-bit number
