"""Fixtures shared by all packages: where the real datasets, tokenizers and conformance cases are; a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _real_files(folder: Path, what: str) -> Path:
    if not folder.is_dir():
        pytest.skip(
            f"{what} not found at {folder}; set SFTKEY_SHARED_DATA to the folder that holds raw/ and tokenizers/"
        )
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with `raw/`, `outputs/` and `tokenizers/`; skips the test where it is absent."""
    return _real_files(Path(os.environ.get("SFTKEY_SHARED_DATA", ROOT.parent / "shared" / "data")), "shared data")


@pytest.fixture(scope="session")
def shared_conformance(shared_data: Path) -> Path:
    """Folder with the conformance cases; skips the test where it is absent."""
    return _real_files(shared_data.parent / "conformance", "conformance cases")


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
