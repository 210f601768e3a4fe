"""One question to a judge behind an OpenAI-compatible server, asked again where a fault may pass."""

import json
import os
from collections.abc import Mapping
from typing import Any

import requests as http

from sftkey_data.errors import Interrupted
from sftkey_eval.judge.judge_options import KEY_VARIABLE
from sftkey_eval.server_faults import patiently, said_of

ATTEMPTS = 8  # with pauses of 35 seconds in all
SECONDS = (10.0, 600.0)  # to connect, and until it answers: a judge may think for long


def ask_judge(address: str, body: Mapping[str, Any]) -> str:
    """The text of the reply, empty where the judge said nothing.

    Raises:
        Interrupted: No answer after all attempts, or one that is no chat completion.
    """
    try:
        answer = patiently(ATTEMPTS)(_post, address, body)
    except http.RequestException as error:
        raise Interrupted(f"judge {address}: {_without_key(said_of(error))}") from None
    try:
        content = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, TypeError, IndexError):
        found = " ".join(answer.split())[:200]
        raise Interrupted(f"judge {address}: expected a chat completion, found {found!r}") from None
    return content if isinstance(content, str) else ""


def _post(address: str, body: Mapping[str, Any]) -> str:
    # No redirect: it would carry the key elsewhere, and make a GET of the request.
    answer = http.post(address, json=body, auth=_with_key, timeout=SECONDS, allow_redirects=False)
    answer.raise_for_status()
    if answer.status_code >= 300:
        raise http.HTTPError(response=answer)
    return answer.content.decode("utf-8", "replace")


def _without_key(text: str) -> str:
    """Some servers say the key that they refuse."""
    key = os.environ.get(KEY_VARIABLE)
    return text.replace(key, "…") if key else text


def _with_key(request: http.PreparedRequest) -> http.PreparedRequest:
    """Set the key of the environment; without this `requests` would send what `.netrc` holds for the host."""
    if key := os.environ.get(KEY_VARIABLE):
        request.headers["Authorization"] = f"Bearer {key}"
    return request
