"""Which language model is asked for a second opinion: each field is a flag of `score` and of `run`."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import require
from sftkey_data.options import Option, Panel

KEY_VARIABLE = "SFTKEY_JUDGE_KEY"
"""Of the environment: the server's key. It is sent, and written nowhere."""

_ROUTE = "/chat/completions"
_OURS = ("model", "messages", "stream", "n")
_SECRET = re.compile(r"key|token$|secret|password|authorization|header", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """Where the judge is, and what it is sent beside the answers; without an address nobody is asked."""

    judge_url: Annotated[
        str | None,
        Option(
            metavar="URL",
            help="A second grader's OpenAI-compatible server.",
            panel=Panel.GRADING,
        ),
    ] = None
    judge_model: Annotated[
        str | None, Option(metavar="NAME", help="Of the second grader on that server.", panel=Panel.GRADING)
    ] = None
    judge_arg: Annotated[
        dict[str, Any],
        Option(
            metavar="NAME=VALUE",
            help="Of its requests: max_tokens=512; temperature=null leaves ours, 0, out.",
            panel=Panel.GRADING,
            json=True,
            rare=True,
        ),
    ] = field(default_factory=dict)


def check_judge(options: JudgeOptions, second_grader: str | None) -> None:
    """Refuse half a judge, two second graders, a key where it would be recorded, and arguments that are ours.

    Raises:
        SFTKeyError: Names what was found.
    """
    url, model = options.judge_url, options.judge_model
    if url is None and model is None and not options.judge_arg:
        return
    if not (url and model):
        missing = "--judge-url" if not url else "--judge-model"
        raise SFTKeyError(f"a judge needs --judge-url and --judge-model, found no {missing}")
    if second_grader is not None:
        raise SFTKeyError(f"--second-grader {second_grader} and --judge-url: there is one second opinion, expected one")
    _check_address(url)
    for name in options.judge_arg:
        if name in _OURS:
            raise SFTKeyError(f"--judge-arg {name}: it is set here, expected another argument")
        if _SECRET.search(name):
            raise SFTKeyError(f"--judge-arg {name}: arguments are recorded; a key belongs in ${KEY_VARIABLE}")
    require("--judge-url", "eval", "requests")


def judge_address(url: str) -> str:
    """Where requests go, from the server's address with or without the route."""
    base = url.rstrip("/")
    return base if base.endswith(_ROUTE) else f"{base}{_ROUTE}"


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        raise SFTKeyError(f"--judge-url {url!r}: expected an address such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        # The url itself is not said again: what is behind the mark may be a key.
        raise SFTKeyError(
            f"--judge-url: the address at {parts.hostname} holds a user, a query or a fragment, expected none of them; "
            f"a key belongs in ${KEY_VARIABLE}"
        )
