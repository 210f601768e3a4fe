"""Trying again: how often, after which waits, and what is said in the end."""

import time
from collections.abc import Callable

import pytest

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage.filesystems import tried


def failing(error: BaseException, times: int, calls: list[int]) -> Callable[[], str]:
    def action() -> str:
        calls.append(len(calls))
        if len(calls) <= times:
            raise error
        return "done"

    return action


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were to be slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_what_may_pass_is_tried_six_times_with_doubled_waits(waits: list[float]) -> None:
    calls: list[int] = []
    assert tried(failing(ConnectionError("a\n b"), 5, calls), "x: reading it") == "done"
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2]
    with pytest.raises(Interrupted, match=r"^x: reading it failed 6 times: ConnectionError: a b$"):
        tried(failing(ConnectionError("a\n b"), 9, []), "x: reading it")
    assert len(waits) == 10


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (FileNotFoundError("gone"), SFTKeyError, "x: FileNotFoundError: gone"),
        (PermissionError("ran out"), Interrupted, "x: PermissionError: ran out"),
        (SFTKeyError("said"), SFTKeyError, "said"),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_what_stays_is_not_tried_again(
    waits: list[float], error: BaseException, kind: type[BaseException], says: str
) -> None:
    calls: list[int] = []
    with pytest.raises(kind) as caught:
        tried(failing(error, 9, calls), "x")
    assert (type(caught.value), str(caught.value)) == (kind, says)
    assert (calls, waits) == ([0], [])
