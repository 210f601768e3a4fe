"""Fixtures shared by all packages: where the real datasets, tokenizers and conformance cases are; a browser.

And a guard: in the tests' own processes no folder of the machine can be removed, whatever a test of hostile input asks.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parent.parent
_OURS = [ROOT, Path(tempfile.gettempdir()).resolve(), Path.home() / ".cache"]


def _stays(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: `shutil.rmtree` outside the checkout, the temporary folder and the caches fails instead."""
    if event == "shutil.rmtree":
        path = Path(os.fsdecode(arguments[0])).resolve()
        if not any(path != ours and path.is_relative_to(ours) for ours in _OURS):
            raise RuntimeError(f"a test asked to remove {path}")


def pytest_configure(config: pytest.Config) -> None:
    """The session's temporary folder may be elsewhere; and tests of a GPU alone need one, or all would be skipped."""
    if base := config.getoption("basetemp", None):
        _OURS.append(Path(base).resolve().parent)
    if config.getoption("markexpr", "") == "gpu":
        import torch

        if not torch.cuda.is_available():
            raise pytest.UsageError("the tests marked gpu need a GPU, and torch finds none")


sys.addaudithook(_stays)
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the hub: it would try again for half a minute where none is


def _real_files(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        pytest.skip(
            f"{what} not found at {folder}; set SFTKEY_SHARED_DATA to the folder that holds raw/ and tokenizers/"
        )
    return folder


@pytest.fixture(autouse=True)
def _torch_is_seen() -> Iterator[None]:
    """The data program hides torch from its process: from a test's that calls it only until the test ends."""
    yield
    if sys.modules.get("torch", True) is None:
        del sys.modules["torch"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with `raw/`, `outputs/` and `tokenizers/`; skips the test where it is absent."""
    return _real_files(Path(os.environ.get("SFTKEY_SHARED_DATA", ROOT.parent / "shared" / "data")), "shared data")


@pytest.fixture(scope="session")
def shared_conformance(shared_data: Path) -> Path:
    """Folder with the conformance cases; skips the test where it is absent."""
    return _real_files(shared_data.parent / "conformance", "conformance cases")


@pytest.fixture
def ray_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ray, of which one test at a time has a cluster: a program joins one that it finds, also another test's.

    Skips the test where Ray is not installed.
    """
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    with FileLock(tmp_path_factory.getbasetemp().parent / "ray.lock"):
        yield ray


CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A real Chromium; skips the test where it is absent. One in a process: playwright cannot start twice there."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()
