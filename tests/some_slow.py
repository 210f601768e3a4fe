"""Cases of a parametrized test of which some take long: those run in `make test-all` only."""

from collections.abc import Container, Iterable, Mapping
from typing import Any

import pytest


def some_slow(cases: Iterable[Any], *, quick: Container[Any]) -> list[Any]:
    """The cases, those that are not among the quick ones marked slow; of a mapping, its values by their names."""
    named = cases.items() if isinstance(cases, Mapping) else ((None, case) for case in cases)
    return [
        pytest.param(case, id=name, marks=() if (case if name is None else name) in quick else pytest.mark.slow)
        for name, case in named
    ]
