"""One line instead of a traceback for Ctrl-C while a program is still being imported; imports nothing slow itself."""

import sys
from types import TracebackType

ON_INTERRUPT = "interrupted: the same command goes on from what is saved"
_usual = sys.excepthook


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write(f"{ON_INTERRUPT}\n")
    else:
        _usual(kind, error, trace)


sys.excepthook = _hook
