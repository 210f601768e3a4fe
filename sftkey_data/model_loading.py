"""Causal language models by folder or hub name: the one way in, which runs no pickle and no code that comes with them.

torch and transformers are imported inside the functions, as sftkey_data itself needs neither for its work: training
and evaluation load their models here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.guards.regular_file import read_json_file

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Files of weights that run what they hold when they are loaded."""

INSTEAD = "serve it elsewhere and name its address with --backend local-completions"
"""What can be done with a model that needs code of its own, where nothing lets that run."""


def load_config(name: str | Path, *, trust_remote_code: bool = False, instead: str = INSTEAD) -> "PreTrainedConfig":
    """The configuration of a model.

    Args:
        name: Directory or hub name.
        trust_remote_code: Run the Python files that come with the model.
        instead: What a user can do about a model that needs them, where they are not trusted.

    Raises:
        SFTKeyError: It is not there, is of no known type, or needs code of its own that is not trusted.
    """
    from transformers import AutoConfig

    with as_one_line(f"model {str(name)!r} could not be loaded"):
        if not trust_remote_code:
            _refuse_own_code(Path(name), instead)
        config: PreTrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    return config


def load_causal_model(
    name: str | Path,
    *,
    dtype: "torch.dtype | str",
    trust_remote_code: bool = False,
    instead: str = INSTEAD,
    attn_implementation: str | None = None,
    quantized: Mapping[str, Any] | None = None,
) -> "PreTrainedModel":
    """A causal language model with all its weights, from safetensors files, on the CPU.

    Args:
        name: Directory or hub name.
        dtype: Of the weights; `auto` is as they are stored.
        trust_remote_code: Run the Python files that come with the model.
        instead: As of `load_config`.
        attn_implementation: Its attention, by transformers' name; by default what `needed_attention` says.
        quantized: How `from_pretrained` is to quantize what it loads, and where.

    Raises:
        SFTKeyError: What `refuse_unsafe` refuses, it could not be loaded, or weights are missing or misshapen.
    """
    from transformers import AutoModelForCausalLM

    _refuse_pickles(Path(name))
    config = load_config(name, trust_remote_code=trust_remote_code, instead=instead)
    with as_one_line(f"model {str(name)!r} could not be loaded"):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name,
            dtype=dtype,
            attn_implementation=attn_implementation or needed_attention(config),
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,  # None, the default, would ask on the terminal
            **(quantized or {}),
        )
    model, loading = loaded
    absent = sorted([*loading["missing_keys"], *(str(key[0]) for key in loading["mismatched_keys"])])
    if absent:  # transformers would fill them at random and go on
        raise SFTKeyError(
            f"model {str(name)!r}: {len(absent)} weights are missing or misshapen, the first is {absent[0]!r}"
        )
    return model  # type: ignore[no-any-return]


def refuse_unsafe(name: str | Path) -> None:
    """Refuse a folder that could be loaded only by running a pickle or code that comes with it; quick.

    Raises:
        SFTKeyError: Names the file or the model type, and what to do.
    """
    _refuse_pickles(Path(name))
    with as_one_line(f"model {str(name)!r} could not be loaded"):
        _refuse_own_code(Path(name), INSTEAD)


def needed_attention(config: "PreTrainedConfig") -> str | None:
    """Which attention a model needs; None is transformers' choice."""
    # Scaled-dot-product attention leaves soft-capping out without a word.
    return "eager" if getattr(config.get_text_config(), "attn_logit_softcapping", None) else None


def own_end_tokens(model: "PreTrainedModel") -> list[int]:
    """Ids at which a model stops by its own generation config; empty where that names none."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    several = configured if isinstance(configured, list) else [configured]
    return [int(token) for token in several if token is not None]


@contextmanager
def as_one_line(what: str) -> Iterator[None]:
    """Faults of a model's files and fields, which transformers reports at length, as one line that begins with `what`.

    Raises:
        SFTKeyError: Such a fault.
    """
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError, StrictDataclassError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        raise SFTKeyError(f"{what}: {lines[-1] if isinstance(error, StrictDataclassError) else lines[0]}") from None


def _refuse_own_code(folder: Path, instead: str) -> None:
    """Refuse a folder whose model transformers has no class for; it would ask on the terminal, at length."""
    from transformers import CONFIG_MAPPING

    path = folder / "config.json"
    config = read_json_file(path) if path.is_file() else {}
    if "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING:
        raise SFTKeyError(
            f"model {str(folder)!r} comes with Python code of its own (model_type {config.get('model_type')!r}), which "
            f"is not run unless asked for: {instead}"
        )


def _refuse_pickles(folder: Path) -> None:
    """Refuse a folder that has weights in no other form: loading a pickle can run any code."""
    pickles = sorted(path.name for kind in PICKLES for path in folder.glob(kind)) if folder.is_dir() else []
    named = _other_files_of_the_index(folder)  # such a file would be loaded whatever lies beside it
    if named or (pickles and not any(folder.glob("*.safetensors"))):
        raise SFTKeyError(
            f"model {str(folder)!r} has its weights only as {[*named, *pickles][0]}, expected *.safetensors: load it "
            "once with transformers, from a source you trust, and write it with save_pretrained"
        )


def _other_files_of_the_index(folder: Path) -> list[str]:
    """Files that an index of safetensors names and that are none, sorted."""
    indices = [*folder.glob("*.safetensors.index.json")] if folder.is_dir() else []
    with as_one_line(f"model {str(folder)!r} could not be loaded"):
        maps = [read_json_file(path)["weight_map"] for path in indices]
        return sorted(
            {str(name) for names in maps for name in names.values() if not str(name).endswith(".safetensors")}
        )
