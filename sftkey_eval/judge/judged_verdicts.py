"""A judge's opinion beside our verdicts: never instead of them, each question asked once."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from sftkey_data.errors import Interrupted
from sftkey_eval.judge.judge_cache import JudgeCache, request_key
from sftkey_eval.judge.judge_options import JudgeOptions, judge_address
from sftkey_eval.records.verdicts import UNPARSABLE, Verdict

JUDGE = "judge"
"""As which the second grader is recorded."""

_SAID = {"SAME": "correct", "DIFFERENT": "wrong", "UNSURE": "undecided"}
_LAST_LINE = re.compile(r"[*_`\s]*VERDICT[*_`\s]*:[*_`\s]*(SAME|DIFFERENT|UNSURE)[*_`.\s]*", re.IGNORECASE)


@cache
def judge_prompt() -> str:
    """What every request begins with; the answers follow as JSON."""
    return files(__package__).joinpath("judge_prompt.txt").read_text(encoding="utf-8")


def judge_record(options: JudgeOptions) -> dict[str, Any] | None:
    """Who was asked, and how; None where nobody was. The key is in no record."""
    if options.judge_url is None:
        return None
    return {
        "url": options.judge_url,
        "model": options.judge_model,
        "arguments": options.judge_arg,
        "prompt_sha256": hashlib.sha256(judge_prompt().encode()).hexdigest(),
    }


def judge_reading(reply: str) -> str | None:
    """`correct`, `wrong` or `undecided` by the last line of a reply; None where that is no verdict."""
    lines = [line for line in reply.splitlines() if line.strip()]
    found = _LAST_LINE.fullmatch(lines[-1]) if lines else None
    return _SAID[found[1].upper()] if found else None


@dataclass(frozen=True, slots=True)
class Judge:
    """Asks about verdicts, in any number of requests at once.

    Args:
        options: Where, whom, and with which arguments.
        concurrency: Requests under way at once; the opinions are the same for any number.
        kept: What was answered before, and where answers are kept as they come.
    """

    options: JudgeOptions
    concurrency: int
    kept: JudgeCache

    def with_opinions(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """The verdicts with the judge's; it is asked about what is scored and has an answer, as every second grader.

        Raises:
            Interrupted: The server fails; what it has answered is kept.
        """
        bodies = {n: self._body(verdict) for n, verdict in enumerate(verdicts) if _is_asked(verdict)}
        keys = {n: request_key(self._address, body) for n, body in bodies.items()}
        unasked = {key: bodies[n] for n, key in keys.items() if self.kept.find(key) is None}
        self._ask(unasked)
        return [
            _with_reply(verdict, self.kept.find(keys[n]) or "") if n in keys else verdict
            for n, verdict in enumerate(verdicts)
        ]

    @property
    def _address(self) -> str:
        return judge_address(self.options.judge_url or "")

    def _body(self, verdict: Verdict) -> dict[str, Any]:
        facts: dict[str, Any] = {"question": verdict.prompt}
        if verdict.choices:
            facts["options"] = list(verdict.choices)
        facts |= {"reference": verdict.gold, "answer": verdict.lenient_predicted}
        # One message: some chat templates have no place for a system's.
        content = f"{judge_prompt()}\n{json.dumps(facts, ensure_ascii=False)}".encode("utf-8", "replace").decode()
        given = {"temperature": 0, **self.options.judge_arg}
        body = {"model": self.options.judge_model, "messages": [{"role": "user", "content": content}]}
        return body | {name: value for name, value in given.items() if value is not None}

    def _ask(self, unasked: Mapping[str, Mapping[str, Any]]) -> None:
        from sftkey_eval.judge.judge_server import ask_judge  # HTTP takes long to import, also in worker processes

        def ask(key: str) -> None:
            # Kept before this thread asks again, so that a killed run has lost what was under way alone.
            self.kept.keep(key, unasked[key], ask_judge(self._address, unasked[key]))

        failed: BaseException | None = None
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            for future in as_completed([pool.submit(ask, key) for key in unasked]):
                if not future.cancelled() and future.exception() is not None:
                    failed = failed or future.exception()
                    pool.shutdown(wait=False, cancel_futures=True)  # of those under way the answers are still kept
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(failed, Interrupted):
            kept = f"{len(self.kept):,} of its answers are kept in {self.kept.path}"
            raise Interrupted(f"{failed}; {kept}: the same command asks for the rest")
        if failed is not None:
            raise failed


@contextmanager
def open_judge(options: JudgeOptions, concurrency: int, beside: Path) -> Iterator[Judge | None]:
    """The judge that the options name, None where they name none; its answers are kept beside the verdicts."""
    if options.judge_url is None:
        yield None
        return
    with JudgeCache(replies_path(beside)) as kept:
        yield Judge(options, concurrency, kept)


def replies_path(out: Path) -> Path:
    """Where a judge's answers for a verdicts file are kept: `a.judge.sqlite` beside `a.parquet`."""
    return out.with_name(f"{out.name.removesuffix('.parquet')}.judge.sqlite")


def _is_asked(verdict: Verdict) -> bool:
    return verdict.verdict != "unscored" and verdict.gold is not None and verdict.lenient_predicted is not None


def _with_reply(verdict: Verdict, reply: str) -> Verdict:
    second = judge_reading(reply)
    return replace(verdict, second_verdict=second, second_rule=UNPARSABLE if second is None else JUDGE)
