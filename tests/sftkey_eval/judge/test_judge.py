"""A second opinion of a language model: a real server on loopback that compares what it is sent."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from eval_samples import call

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_eval.judge import judge_server
from sftkey_eval.judge.judge_options import KEY_VARIABLE, JudgeOptions, judge_address
from sftkey_eval.judge.judged_verdicts import judge_prompt, judge_reading
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.report.report import report
from sftkey_eval.scoring.score import disagreements_path, score_file
from sftkey_eval.scoring.score_options import ScoreOptions

Reply = Callable[[dict[str, Any]], tuple[int, str]]
ROOT = Path(__file__).resolve().parents[3]


class Judging:
    """A server that answers as `reply` says, and what it was sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.reply: Reply = lambda facts: said("SAME" if facts["answer"] == facts["reference"] else "DIFFERENT")
        self.url = ""


def said(verdict: str) -> tuple[int, str]:
    return 200, f"Let me see.\n\nVERDICT: {verdict}\n"


@pytest.fixture
def judge() -> Iterator[Judging]:
    judging = Judging()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judging.sent.append(body)
            judging.keys.append(self.headers["Authorization"])
            assert self.path == "/v1/chat/completions"
            prompt, _, facts = body["messages"][0]["content"].rpartition("\n")
            assert prompt == judge_prompt()
            status, text = judging.reply(json.loads(facts))
            answer = json.dumps({"choices": [{"message": {"content": text}}]}) if status == 200 else text
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    judging.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield judging
    server.shutdown()
    server.server_close()


def completions(folder: Path, keys: list[str], gold: str = "4") -> Path:
    rows = [{"id": str(n), "completion": rf"So \boxed{{{key}}}", "gold": gold} for n, key in enumerate(keys)]
    path = folder / "c.jsonl"
    path.write_text("".join(json.dumps({**row, "question": "2 + 2?", "answer_type": "number"}) + "\n" for row in rows))
    return path


def options(judge: Judging, concurrency: int = 1, **arguments: Any) -> ScoreOptions:
    asked = JudgeOptions(judge_url=judge.url, judge_model="big", judge_arg=arguments)
    return ScoreOptions(template="boxed", judge=asked, concurrency=concurrency, workers=1)


def test_a_judge_stands_beside_our_verdicts_and_never_changes_them(
    judge: Judging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "hidden-key")
    replies = {"4": "SAME", "4.0": "DIFFERENT", "5": "UNSURE", "6": "PERHAPS", "7": "DIFFERENT"}
    judge.reply = lambda facts: said(replies[facts["answer"]])
    path = completions(tmp_path, [*replies, ""])
    score_file(path, tmp_path / "alone.parquet", ScoreOptions(template="boxed", workers=1))
    tally = score_file(path, tmp_path / "v.parquet", options(judge))
    verdicts, provenance = read_verdicts(tmp_path / "v.parquet")
    alone, _ = read_verdicts(tmp_path / "alone.parquet")
    assert [v.verdict for v in verdicts] == [v.verdict for v in alone]
    assert [(v.second_verdict, v.second_rule) for v in verdicts] == [
        ("correct", "judge"),
        ("wrong", "judge"),
        ("undecided", "judge"),
        (None, "unparsable"),
        ("wrong", "judge"),
        (None, None),
    ]
    listed = [json.loads(line)["id"] for line in disagreements_path(tmp_path / "v.parquet").read_text().splitlines()]
    assert listed == ["1", "2"]
    summary = json.loads(tally.to_json())
    assert [summary[name] for name in ("second_asked", "second_unparsable", "disagreements")] == [5, 1, 2]
    assert "1 of 5 answers of the second grader could not be read; they count as no opinion" in tally.notices()
    assert provenance["second_grader"] == "judge"
    assert provenance["judge"] | {"prompt_sha256": ""} == {
        "url": judge.url, "model": "big", "arguments": {}, "prompt_sha256": ""
    }  # fmt: skip
    assert judge.keys == ["Bearer hidden-key"] * 5
    assert [path.name for path in tmp_path.iterdir() if b"hidden-key" in path.read_bytes()] == []


def test_what_a_judge_said_is_in_the_report(judge: Judging, tmp_path: Path) -> None:
    judge.reply = lambda facts: said("SAME" if facts["answer"] == "5" else "NEITHER")
    score_file(completions(tmp_path, ["4", "5"]), tmp_path / "v.parquet", options(judge))
    report([str(tmp_path / "v.parquet")], tmp_path / "report")
    made = json.loads((tmp_path / "report" / "report.json").read_text())["second_grader"]["v"]
    assert (made["k"], made["n"], made["ids"], made["unparsable"]) == (1, 1, ["1"], 1)
    assert f"big at {judge.url}" in (tmp_path / "report" / "report.html").read_text()


def test_the_same_answer_is_asked_about_once_and_a_second_run_asks_nothing(judge: Judging, tmp_path: Path) -> None:
    path = completions(tmp_path, ["4", "5", "4", "5"])
    score_file(path, tmp_path / "v.parquet", options(judge))
    assert len(judge.sent) == 2
    before = (tmp_path / "v.parquet").read_bytes()
    score_file(path, tmp_path / "v.parquet", options(judge, concurrency=3))
    assert len(judge.sent) == 2
    assert (tmp_path / "v.parquet").read_bytes() == before
    score_file(path, tmp_path / "v.parquet", options(judge, max_tokens=9, temperature=None))
    assert len(judge.sent) == 4
    assert (judge.sent[0]["temperature"], judge.sent[-1].get("temperature"), judge.sent[-1]["max_tokens"]) == (
        0,
        None,
        9,
    )


def test_a_fault_that_passes_is_waited_for(judge: Judging, tmp_path: Path) -> None:
    judge.reply = lambda _: (503, "busy") if len(judge.sent) == 1 else said("SAME")
    score_file(completions(tmp_path, ["4"]), tmp_path / "v.parquet", options(judge))
    assert len(judge.sent) == 2
    assert read_verdicts(tmp_path / "v.parquet")[0][0].second_verdict == "correct"


@pytest.mark.parametrize("status", [500, 401, 302])
def test_a_server_that_fails_is_one_line_and_no_answer_is_lost(
    status: int, judge: Judging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_server, "ATTEMPTS", 2)
    monkeypatch.setenv(KEY_VARIABLE, "hidden-key")
    works = judge.reply
    judge.reply = lambda facts: (status, "no hidden-key\nhere") if facts["answer"] == "6" else works(facts)
    path = completions(tmp_path, ["4", "5", "6", "7"])
    with pytest.raises(Interrupted, match=rf"status {status}: no … here; \d of its answers are kept in .*sqlite"):
        score_file(path, tmp_path / "v.parquet", options(judge))
    assert not (tmp_path / "v.parquet").exists()
    num_failed = 2 if status == 500 else 1
    num_answered = len(judge.sent) - num_failed
    assert num_answered >= 2
    judge.reply, judge.sent = works, []
    score_file(path, tmp_path / "v.parquet", options(judge))
    assert len(judge.sent) == 4 - num_answered
    assert len(read_verdicts(tmp_path / "v.parquet")[0]) == 4


def test_an_answer_that_is_no_chat_completion_is_one_line(judge: Judging, tmp_path: Path) -> None:
    judge.reply = lambda _: (201, "<html>\nwelcome")
    with pytest.raises(Interrupted, match="expected a chat completion, found '<html> welcome'"):
        score_file(completions(tmp_path, ["4"]), tmp_path / "v.parquet", options(judge))


def test_a_killed_run_asks_nothing_twice(judge: Judging, tmp_path: Path) -> None:
    path = completions(tmp_path, [str(n) for n in range(8)])
    works = judge.reply
    programs: list[subprocess.Popen[str]] = []

    def kill_at_the_fifth(facts: dict[str, Any]) -> tuple[int, str]:
        if len(judge.sent) == 5:
            programs[0].send_signal(signal.SIGKILL)
        return works(facts)

    judge.reply = kill_at_the_fifth
    command = [sys.executable, "-m", "sftkey_eval.cli", "score", str(path), "--out", str(tmp_path / "v.parquet")]
    command += ["--template", "boxed", "--judge-url", judge.url, "--judge-model", "big", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    programs.append(subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True))
    programs[0].communicate()
    assert programs[0].returncode == -signal.SIGKILL
    judge.reply, asked = works, len(judge.sent)
    score_file(path, tmp_path / "v.parquet", options(judge))
    contents = [body["messages"][0]["content"] for body in judge.sent]
    assert (asked, len(contents)) == (5, 9)  # the fifth was under way
    assert len(set(contents[:4]) & set(contents[5:])) == 0


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("VERDICT: SAME", "correct"),
        ("I first thought\nVERDICT: SAME\nbut no.\n**Verdict: different.**\n", "wrong"),
        ("VERDICT: UNSURE  \n\n", "undecided"),
        ("VERDICT: SAME or VERDICT: DIFFERENT", None),
        ("VERDICT: SAME\nIn short, they agree.", None),
        ("The same.", None),
        ("", None),
    ],
)
def test_only_the_last_line_is_a_verdict(reply: str, expected: str | None) -> None:
    assert judge_reading(reply) == expected


def test_an_address_may_name_the_route() -> None:
    assert {judge_address(f"http://a/v1{end}") for end in ("", "/", "/chat/completions")} == {
        "http://a/v1/chat/completions"
    }


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--judge-url", "http://a/v1"], "found no --judge-model"),
        (["--judge-model", "m"], "found no --judge-url"),
        (["--judge-url", "a/v1", "--judge-model", "m"], "expected an address such as http"),
        (["--judge-url", "http://u:hidden@a/v1", "--judge-model", "m"], "the address at a holds a user"),
        (["--judge-url", "http://a/v1?api_key=hidden", "--judge-model", "m"], f"a key belongs in ${KEY_VARIABLE}"),
        (["--judge-url", "http://a/v1", "--judge-model", "m", "--judge-arg", "api_key=hidden"], "are recorded"),
        (["--judge-url", "http://a/v1", "--judge-model", "m", "--judge-arg", "n=2"], "it is set here"),
        (
            ["--judge-url", "http://a/v1", "--judge-model", "m", "--second-grader", "math-verify"],
            "there is one second opinion",
        ),
        (["--judge-url", "http://a/v1", "--judge-model", "m", "--concurrency", "0"], "concurrency is 0"),
    ],
)
def test_half_a_judge_or_a_key_in_the_open_is_refused(flags: list[str], expected: str, tmp_path: Path) -> None:
    done = call("score", completions(tmp_path, ["4"]), "--out", tmp_path / "v.parquet", *flags)
    assert isinstance(done.exception, SFTKeyError)
    assert expected in str(done.exception)
    assert "hidden" not in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["c.jsonl"]
