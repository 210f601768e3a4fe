"""What counts as equal: printed and hashed into every result."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args, get_type_hints

from sftkey_data.errors import SFTKeyError, nearest

MAX_ROUNDING = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The choices a grader cannot avoid making; every field changes some verdict."""

    percent: Literal["either", "strict"] = "either"
    """`either`: `50%` equals `0.5` and `50`. `strict`: `50%` equals `0.5` only. `0.5` never equals `50`."""
    units: Literal["forgive_missing", "strict"] = "forgive_missing"
    """Whether a unit on one side only is forgiven. A different unit is always wrong."""
    case: Literal["fold", "keep"] = "fold"
    """Whether the case of words counts. In mathematics the case of a symbol always does."""
    order: Literal["by_kind", "keep"] = "by_kind"
    """`by_kind`: tuples and intervals keep their order, sets and comma lists do not. `keep`: all do."""
    rounding: int | None = None
    """Decimal places to which numbers are rounded before they are compared; None compares exactly."""

    @property
    def digest(self) -> str:
        """SHA-256 over the content; results under different digests are not comparable."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


DEFAULT_POLICY = Policy()


def read_policy(**fields: Any) -> Policy:
    """A policy from what a user wrote.

    Raises:
        SFTKeyError: A value that a field does not have.
    """
    for name, kind in get_type_hints(Policy).items():
        allowed = [choice for choice in get_args(kind) if isinstance(choice, str)]
        value = fields.get(name)
        if allowed and name in fields and value not in allowed:
            raise SFTKeyError(
                f"--{name}: found {value!r}, expected {' or '.join(allowed)}{nearest(str(value), allowed)}"
            )
    if (places := fields.get("rounding")) is not None and not 0 <= places <= MAX_ROUNDING:
        raise SFTKeyError(f"--rounding: found {places}, expected 0 to {MAX_ROUNDING} decimal places")
    return Policy(**fields)
