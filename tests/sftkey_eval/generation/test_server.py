"""A model behind an OpenAI-compatible server: `transformers serve`, a process of its own, on loopback."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from eval_samples import TURN

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.records.journal import partial_path

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
NEW_TOKENS = 24


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def chatty(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a chat template that adds nothing."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("served") / "chatty")
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(template)
    return folder


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server writes a line per request."""
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def address(chatty: Path, log: Path) -> Iterator[str]:
    pytest.importorskip("fastapi", reason="the server needs transformers[serving]")
    port = free_port()
    script = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", script, "serve", str(chatty), "--port", str(port), "--device", "cpu"]
    command += ["--host", "127.0.0.1"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    deadline = time.monotonic() + 180
    while not answers(port):
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/v1/completions"
    server.kill()
    server.wait()


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
            return True
    except (URLError, OSError):
        return False


def options(model: Path, data: Path, address: str, **changes: Any) -> GenerateOptions:
    arguments = f"base_url={address},tokenized_requests=False,max_retries=1"
    values = {"backend": "local-completions", "backend_args": arguments, "max_new_tokens": NEW_TOKENS} | changes
    return GenerateOptions(model=str(model), data=data, **values)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def served(address: str, chatty: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("served") / "completions.jsonl"
    generate(options(chatty, prepared, address), out)
    return out


def test_a_server_gives_what_the_model_gives_here(
    served: Path, tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    here = GenerateOptions(model=str(tiny_model), data=prepared, max_new_tokens=NEW_TOKENS, device="cpu")
    generate(here, tmp_path / "completions.jsonl")
    plain = {  # this server leaves special tokens out, so that the bytes around them read otherwise
        row["id"]: (row["completion"], row["finish_reason"])
        for row in read(tmp_path / "completions.jsonl")
        if TURN not in row["completion"]
    }
    found = {row["id"]: (row["completion"], row["finish_reason"]) for row in read(served) if row["id"] in plain}
    assert found == plain
    assert {reason for _, reason in plain.values()} == {"stop", "length"}
    assert len(read(served)) == 24


def test_completions_do_not_depend_on_how_many_requests_are_under_way(
    served: Path, address: str, chatty: Path, prepared: Path, tmp_path: Path
) -> None:
    generate(options(chatty, prepared, address, concurrency=4), tmp_path / "completions.jsonl")
    assert (tmp_path / "completions.jsonl").read_bytes() == served.read_bytes()


def test_a_killed_program_asks_the_server_only_for_the_rest(
    served: Path, address: str, log: Path, chatty: Path, prepared: Path, tmp_path: Path
) -> None:
    out = tmp_path / "completions.jsonl"
    asked = options(chatty, prepared, address)
    command = [sys.executable, "-m", "sftkey_eval.cli", "generate", "--model", str(chatty), "--data", str(prepared)]
    command += ["--out", str(out), "--backend", "local-completions", "--backend-args", str(asked.backend_args)]
    command += ["--max-new-tokens", str(NEW_TOKENS)]
    program = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    partial, deadline = partial_path(out), time.monotonic() + 120
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.002)
    program.send_signal(signal.SIGKILL)
    _, chatter = program.communicate()
    assert chatter == ""
    before = log.read_bytes().count(b"POST /v1/completions")
    num_new = generate(asked, out).num_new
    # The killed program's last request may end after it.
    assert 0 < num_new <= log.read_bytes().count(b"POST /v1/completions") - before <= num_new + 1
    assert num_new <= 24 - 3
    assert out.read_bytes() == served.read_bytes()


def test_a_chat_server_gets_the_prompt_as_a_message(
    served: Path, address: str, chatty: Path, prepared: Path, tmp_path: Path
) -> None:
    asked = options(chatty, prepared, address, backend="local-chat-completions")
    chat = f"base_url={address.replace('/completions', '/chat/completions')},max_retries=1"
    generate(replace(asked, backend_args=chat), tmp_path / "completions.jsonl")
    completions = [row["completion"] for row in read(tmp_path / "completions.jsonl")]
    assert completions == [row["completion"] for row in read(served)]


def test_samples_of_a_server_have_seeds_of_their_own(
    address: str, chatty: Path, prepared: Path, tmp_path: Path
) -> None:
    asked = options(chatty, prepared, address, temperature=1.0, num_samples=2, limit=4)
    result = generate(asked, tmp_path / "completions.jsonl")
    assert [row["id"] for row in read(result.path)][:3] == [
        "arithmetic/test/0#0",
        "arithmetic/test/0#1",
        "arithmetic/test/1#0",
    ]


def test_what_the_server_says_is_the_error(address: str, chatty: Path, prepared: Path, tmp_path: Path) -> None:
    wrong = replace(
        options(chatty, prepared, address), backend_args=f"base_url={address},tokenized_requests=True,max_retries=1"
    )
    with pytest.raises(SFTKeyError, match=r"/v1/completions: status 400: .*prompt must be a string") as caught:
        generate(wrong, tmp_path / "completions.jsonl")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "completions.jsonl").exists()


def test_a_server_whose_tokenizer_is_another_is_refused(
    address: str, chatty: Path, prepared: Path, tmp_path: Path
) -> None:
    from eval_samples import write_data, write_tokenizer

    write_tokenizer(tmp_path / "other", bos=True)
    data = write_data(tmp_path / "data", tmp_path / "other", num=3)
    asked = options(chatty, data, address)
    asked = replace(asked, backend_args=f"{asked.backend_args},tokenizer={tmp_path / 'other'}")
    with pytest.raises(SFTKeyError, match=r"saw \d+ prompt tokens, expected \d+: BOS or the tokenizer differs"):
        generate(asked, tmp_path / "out" / "completions.jsonl")


def test_a_server_may_keep_its_tokenizer_to_itself(
    served: Path, address: str, chatty: Path, prepared: Path, tmp_path: Path
) -> None:
    asked = options(chatty, prepared, address, limit=4)
    generate(
        replace(asked, backend_args=f"{asked.backend_args},tokenizer_backend=none"), tmp_path / "completions.jsonl"
    )
    assert read(tmp_path / "completions.jsonl") == read(served)[:4]
    assert json.loads((tmp_path / "run.json").read_text())["model"]["tokenizer_fingerprint"] is None


def test_no_server_is_one_line(chatty: Path, prepared: Path, tmp_path: Path) -> None:
    nowhere = options(chatty, prepared, f"http://127.0.0.1:{free_port()}/v1/completions")
    with pytest.raises(SFTKeyError, match=r"no answer \(ConnectionError\); is the server running"):
        generate(nowhere, tmp_path / "completions.jsonl")
