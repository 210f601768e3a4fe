"""A step of reading takes no more memory than it may, and the limit is gone after it."""

import resource
import sys
import threading

import pytest

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards import memory_bound
from sftkey_data.guards.memory_bound import bounded_memory, bounded_steps

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's data is Linux's")
MIB = 2**20


@pytest.fixture(autouse=True)
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_bound, "SPARE_BYTES", 64 * MIB)


def test_what_takes_too_much_is_one_line_and_the_limit_is_given_back() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with (
        pytest.raises(SFTKeyError, match=r"^a\.x: takes more than 0\.1 GiB of memory, expected less"),
        bounded_memory("a.x"),
    ):
        bytearray(128 * MIB)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(bytearray(128 * MIB)) == 128 * MIB


def test_a_larger_file_may_take_more() -> None:
    with bounded_memory("a.x", 32 * MIB):
        assert len(bytearray(128 * MIB)) == 128 * MIB


def test_each_step_is_bounded_and_what_is_kept_of_them_is_not() -> None:
    kept = [*bounded_steps((bytearray(40 * MIB) for _ in range(4)), "a.x")]
    assert len(kept) == 4
    with pytest.raises(SFTKeyError, match="takes more than"):
        next(bounded_steps((bytearray(size) for size in (128 * MIB,)), "a.x"))


def test_an_error_of_the_reading_passes_and_the_limit_is_given_back() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(KeyError), bounded_memory("a.x"):
        raise KeyError("x")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_windows_of_two_threads_leave_the_limit_as_it_was() -> None:
    before, second_is_in, first_is_out = resource.getrlimit(resource.RLIMIT_DATA), threading.Event(), threading.Event()

    def second() -> None:
        with bounded_memory("b.x"):
            second_is_in.set()
            first_is_out.wait(10)

    thread = threading.Thread(target=second)
    with bounded_memory("a.x"):
        thread.start()
        assert second_is_in.wait(10)
    assert resource.getrlimit(resource.RLIMIT_DATA) != before  # the second one is still reading
    first_is_out.set()
    thread.join()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
