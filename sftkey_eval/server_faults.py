"""Faults of a model's server: which may pass, how long to try again, and what they are called in one line."""

import requests as http
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential


def patiently(num_attempts: int) -> Retrying:
    """Calls a function again while what it raises may pass, then raises that."""
    return Retrying(
        stop=stop_after_attempt(num_attempts),
        wait=wait_exponential(multiplier=0.5, max=10),  # seconds: 0.5, 1, 2, 4, 8, 10, 10, …
        retry=retry_if_exception(_may_pass),
        reraise=True,
    )


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, http.HTTPError) and error.response is not None:
        # Of the client's faults these two pass: a request that took too long, and too many of them.
        return error.response.status_code >= 500 or error.response.status_code in (408, 429)
    return isinstance(error, http.ConnectionError | http.Timeout)


def said_of(error: http.RequestException) -> str:
    """The status and what the server wrote, or that there is no answer."""
    if error.response is not None:
        return f"status {error.response.status_code}: {' '.join(error.response.text.split())[:300]}"
    return f"no answer ({type(error).__name__}); is the server running?"
