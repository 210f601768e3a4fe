"""`--share A:B`: only some of the questions are wanted; the others are rejects by design, under `other_share`."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from sftkey_data.extract.parts import Parts, Reject, Row
from sftkey_data.prepare.draw import Draw
from sftkey_data.registry import Dataset

OTHER_SHARE = "other_share"


def only_share(dataset: Dataset, share: tuple[float, float] | None, seed: int) -> Dataset:
    """The dataset as it reads only questions drawn by their hash: shares that do not overlap have none in common.

    Args:
        dataset: With its options bound.
        share: From which on and below which share of all questions; None: all of them.
        seed: Draws others.
    """
    if share is None:
        return dataset
    return replace(
        dataset,
        extract=partial(_extract_share, dataset.extract, share, Draw(1.0, seed)),
        expected_rejects=dataset.expected_rejects | {OTHER_SHARE},
    )


def _extract_share(extract: Callable[[Row], Parts], share: tuple[float, float], drawn: Draw, row: Row) -> Parts:
    parts = extract(row)
    first, end = (bound * 2.0**64 for bound in share)
    if not first <= drawn.place(parts) < end:
        raise Reject(OTHER_SHARE, f"the question is not in the share {share[0]:g}:{share[1]:g}")
    return parts
