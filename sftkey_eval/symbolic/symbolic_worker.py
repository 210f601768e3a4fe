"""The process that reads model text as mathematics: one JSON request per line in, one JSON reply per line out.

It is started by `symbolic_process` and may die at any request: the kernel ends it at a limit of processor time or
memory. It ends by itself when its input does, so it outlives nobody. Text is parsed by Math-Verify's LaTeX grammar,
never by `eval`. As a second grader Math-Verify also reads plain numbers its own way: what its pattern of digits and
operators lets through (no letter, so no name) goes to sympy's `parse_expr`.
"""

import json
import logging
import os
import resource
import signal
import sys
from typing import Any

from sftkey_eval.symbolic.symbolic_limits import CPU_SECONDS, MEMORY_BYTES


def main() -> None:
    """Serve requests until the input ends."""
    channel, replies = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not be read as a reply
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; then the input ends
    logging.disable(logging.CRITICAL)
    answer = _prepare()
    replies.write(b'{"ready": true}\n')
    for line in channel:
        reply = _limited(answer, json.loads(line))
        replies.write(json.dumps(reply).encode() + b"\n")
        if reply["outcome"] == "memory":
            return


def _prepare() -> Any:
    from sftkey_eval.symbolic.symbolic_equality import answer

    warm = {"golds": ["\\frac{x}{2}"], "predicteds": ["x"], "ordered": True, "as_set": False, "rounding": None}
    answer(warm)  # the grammar's tables are built at the first use
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    return answer


def _limited(answer: Any, request: dict[str, Any]) -> dict[str, Any]:
    # Processor time, not the clock: a busy machine gives the same verdicts. SIGPROF's default action ends the process.
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        return {"outcome": answer(request)}
    except MemoryError:
        return {"outcome": "memory"}
    except RecursionError:
        return {"outcome": "unparsed"}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    main()
