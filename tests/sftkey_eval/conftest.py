"""Fixtures of the evaluation's tests."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from eval_samples import write_data, write_model, write_tokenizer


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with its tokenizer."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    write_tokenizer(folder)
    write_model(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """24 prepared arithmetic rows, tokenised for `tiny_model`."""
    return write_data(tmp_path_factory.mktemp("data") / "test", tiny_model)


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[Any]]]:
    """A server that refuses every request, and what it was sent."""
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(418)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"no\ntea")

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", sent
    server.shutdown()
    server.server_close()
