"""Fixtures of the evaluation's tests."""

from pathlib import Path

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
