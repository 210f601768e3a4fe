"""A property that is worked out when it is first asked for, and kept."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")


class once(Generic[_Value]):  # noqa: N801 - used as `property` is
    """`functools.cached_property` without its lock, which until Python 3.12 costs more than most of these readings.

    For values that one thread reads, by the hundred thousand. A class with `__slots__` has no place to keep them.
    """

    def __init__(self, work_out: Callable[[Any], _Value]) -> None:
        self._work_out = work_out
        self.__doc__ = work_out.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: type) -> _Value:
        # No `__set__`: what stands in the instance's own dictionary is found there, and this is never called again.
        value: _Value = self._work_out(instance)
        instance.__dict__[self._name] = value
        return value
