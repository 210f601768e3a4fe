"""What counts as equal: printed and hashed into every result."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from sftkey_data.errors import SFTKeyError
from sftkey_data.options import Option, Panel, check_values

MAX_ROUNDING = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The choices a grader cannot avoid making; every field changes some verdict."""

    percent: Annotated[
        Literal["either", "strict"],
        Option(help="50% equals 0.5 and 50, or 0.5 only.", panel=Panel.GRADING),
    ] = "either"
    """`0.5` never equals `50`."""
    units: Annotated[
        Literal["forgive_missing", "strict"],
        Option(help="A different unit is always wrong.", panel=Panel.GRADING),
    ] = "forgive_missing"
    """Whether a unit on one side only is forgiven."""
    case: Annotated[Literal["fold", "keep"], Option(help="Whether the case of words counts.", panel=Panel.GRADING)] = (
        "fold"
    )
    """In mathematics the case of a symbol always counts."""
    order: Annotated[
        Literal["by_kind", "keep"],
        Option(help="Sets and comma lists have no order, or all do.", panel=Panel.GRADING),
    ] = "by_kind"
    """Tuples and intervals always keep their order."""
    rounding: Annotated[int | None, Option(help="Decimal places of numbers [default: exact]", panel=Panel.GRADING)] = (
        None
    )
    """Before they are compared."""

    @property
    def digest(self) -> str:
        """SHA-256 over the content; results under different digests are not comparable."""
        # Sorted: the order of the fields above may change without a new digest.
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


DEFAULT_POLICY = Policy()


def check_policy(policy: Policy) -> None:
    """Refuse a value that a field does not have.

    Raises:
        SFTKeyError: Names the flag, what was found and what is expected.
    """
    check_values(policy)
    if policy.rounding is not None and not 0 <= policy.rounding <= MAX_ROUNDING:
        raise SFTKeyError(f"--rounding: found {policy.rounding}, expected 0 to {MAX_ROUNDING} decimal places")
