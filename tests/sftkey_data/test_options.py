"""Options dataclasses: what their fields allow, and what of them a record holds."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.options import Option, check_values, recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    share: Annotated[float, Option(help="Share.", above=0, max=1, record="inner")] = 1.0


@dataclass(frozen=True, kw_only=True)
class Outer:
    num: Annotated[int, Option(help="Number.", min=1, record="outer")] = 8
    most: Annotated[int | None, Option(help="Most.", max=5)] = None
    case: Annotated[Literal["fold", "keep"], Option(help="Case.")] = "fold"
    order: Annotated[Literal["kind", "all"] | None, Option(help="Order.", flag="--in-order")] = None
    inner: Inner = field(default_factory=Inner)
    free: int = -1


@dataclass(frozen=True, kw_only=True)
class Wider(Outer):
    added: Annotated[float, Option(help="Added.", min=0, record="outer")] = 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num": 0}, "num is 0, expected at least 1"),
        ({"most": 6}, "most is 6, expected at most 5"),
        ({"case": "fol"}, "--case: found 'fol', expected fold or keep (did you mean 'fold'?)"),
        ({"order": "x"}, "--in-order: found 'x', expected kind or all"),
        ({"inner": Inner(share=0.0)}, "share is 0.0, expected more than 0 and at most 1"),
        ({"inner": Inner(share=1.5)}, "share is 1.5, expected more than 0 and at most 1"),
        ({"inner": Inner(share=float("nan"))}, "share is nan, expected more than 0 and at most 1"),
        ({"added": -0.1}, "added is -0.1, expected at least 0"),
        ({"added": float("inf")}, "added is inf, expected at most 9223372036854775807"),
        ({"num": 2**63}, "num is 9223372036854775808, expected at most 9223372036854775807"),
        ({"most": -(2**64)}, "most is -18446744073709551616, expected at most 9223372036854775807"),
    ],
)
def test_a_value_outside_its_field_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SFTKeyError) as caught:
        check_values(Wider(**changes))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "changes",
    [{}, {"num": 1, "most": 5, "order": "all"}, {"inner": Inner(share=1e-9)}, {"most": -3}, {"num": 2**63 - 1}],
)
def test_values_on_the_border_none_and_fields_without_option_pass(changes: dict[str, Any]) -> None:
    check_values(Wider(**changes))


def test_a_record_holds_the_fields_of_its_part_those_of_a_base_too() -> None:
    assert recorded(Wider(num=3, added=0.7, case="keep"), "outer") == {"num": 3, "added": 0.7}
    assert recorded(Inner(), "inner") == {"share": 1.0}
