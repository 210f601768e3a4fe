"""Loading fastokens beside everything else a build begins with; this module imports nothing that would delay it."""

import atexit
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

from sftkey_data.guards.regular_file import regular


@cache
def prefetch(directory: str) -> "Future[Any]":
    """Begin to load fastokens from a folder's `tokenizer.json`: it takes a second, without the interpreter's lock."""
    loaded: Future[Any] = Future()

    def load() -> None:
        try:
            import fastokens

            content = regular(Path(directory) / "tokenizer.json").read_text(encoding="utf-8")
            loaded.set_result(fastokens.Tokenizer.from_json_str(content))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for
            loaded.set_exception(error)

    thread = Thread(target=load, daemon=True)
    thread.start()
    atexit.register(_wait, thread)
    return loaded


def _wait(thread: Thread) -> None:
    """An interpreter that ends under a thread which comes back from Rust aborts (exit -6) instead of what it meant."""
    with suppress(KeyboardInterrupt):  # a second Ctrl-C would rather have it end
        thread.join()
