"""Models that would run what comes with them are refused by the verb, in one line, and nothing of theirs has run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from sftkey_data.errors import SFTKeyError
from sftkey_eval.generation.generate import generate as write_completions
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.inference_engines import EngineBackend

OWN_CODE = """
from pathlib import Path
Path(FOLDER, "ran").touch()  # not beside __file__: transformers runs a copy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""


class _Touch:
    """What a pickle can do: this one makes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def write_own_code(folder: Path) -> None:
    (folder / "own.py").write_text(OWN_CODE.replace("FOLDER", repr(str(folder))))


def only_a_pickle(folder: Path) -> str:
    torch.save({**load_file(folder / "model.safetensors"), "x": _Touch(folder / "ran")}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return (
        f"error: model '{folder}' has its weights only as pytorch_model.bin, expected *.safetensors: load it once "
        "with transformers, from a source you trust, and write it with save_pretrained\n"
    )


def an_index_that_names_a_pickle(folder: Path) -> str:
    weights = load_file(folder / "model.safetensors")
    torch.save({**weights, "x": _Touch(folder / "ran")}, folder / "all.bin")
    (folder / "model.safetensors").rename(folder / "beside.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, "all.bin")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return f"error: model '{folder}' has its weights only as all.bin, expected *.safetensors: load it once "


def code_of_its_own(folder: Path) -> str:
    write_own_code(folder)
    auto_map = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    change(folder / "config.json", model_type="own", auto_map=auto_map)
    return (
        f"error: model '{folder}' comes with Python code of its own (model_type 'own'), which is not run unless asked "
        "for: serve it elsewhere and name its address with --backend local-completions\n"
    )


def a_tokenizer_of_its_own(folder: Path) -> str:
    write_own_code(folder)
    auto_map = {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    change(folder / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map=auto_map)
    return f"error: tokenizer '{folder}' could not be loaded: "


def a_known_type_with_code_beside(folder: Path) -> None:
    write_own_code(folder)
    change(folder / "config.json", auto_map={"AutoModelForCausalLM": "own.OwnModel"})


def generate(model: Path, data: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sftkey_eval.cli", "generate", "--model", str(model), "--data", str(data)]
    command += ["--out", str(out), "--device", "cpu", "--limit", "2", "--max-new-tokens", "4"]
    yes = "y\n" * 5  # to whoever asks on the terminal
    return subprocess.run(command, input=yes, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "spoil", [only_a_pickle, code_of_its_own, pytest.param(a_tokenizer_of_its_own, marks=pytest.mark.slow)]
)
def test_a_model_that_would_run_what_comes_with_it_is_refused_in_one_line(
    spoil: Callable[[Path], str], tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    expected = spoil(model)
    done = generate(model, prepared, tmp_path / "out" / "completions.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.rglob("ran"))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_code_beside_a_model_that_is_known_does_not_run(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    a_known_type_with_code_beside(model)
    done = generate(model, prepared, tmp_path / "out" / "completions.jsonl")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("spoil", [only_a_pickle, an_index_that_names_a_pickle, code_of_its_own])
@pytest.mark.parametrize("backend", ["hf", "dummy"])
def test_every_back_end_that_loads_a_folder_refuses_what_could_run(
    backend: str, spoil: Callable[[Path], str], tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    expected = spoil(model).removeprefix("error: ").rstrip("\n")
    with pytest.raises(SFTKeyError) as caught:
        write_completions(
            GenerateOptions(model=str(model), data=prepared, max_new_tokens=8, backend=backend),
            tmp_path / "out" / "completions.jsonl",
        )
    assert str(caught.value).startswith(expected)
    assert not list(tmp_path.rglob("ran"))


class _Engine:
    """Stands for an engine that is not installed here: keeps what it is started with."""

    max_length = 64

    def __init__(self, **given: object) -> None:
        type(self).given = given  # type: ignore[attr-defined]


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
def test_an_engine_is_told_to_run_no_code_of_a_model(backend: str, tmp_path: Path) -> None:
    engine = EngineBackend(
        _Engine, GenerateOptions(model="model", data=tmp_path, max_new_tokens=8, backend=backend), {}, {}, ()
    )
    assert type(engine._lm).given["trust_remote_code"] is False


def test_nobody_can_have_an_engine_run_it(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    given = "trust_remote_code=True"
    asked = GenerateOptions(model=str(tiny_model), data=prepared, max_new_tokens=8, backend="dummy", backend_args=given)
    with pytest.raises(SFTKeyError, match=r"^--backend-args trust_remote_code: code that comes with a model is never"):
        write_completions(asked, tmp_path / "completions.jsonl")
    assert list(tmp_path.iterdir()) == []
