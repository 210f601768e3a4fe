"""Fixtures shared by all packages: where the real datasets, tokenizers and conformance cases are."""

import os
from pathlib import Path

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
