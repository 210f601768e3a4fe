"""Weights read into shares: each process reads the rows that it will hold, so none ever holds all of a model."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import GenerationConfig
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file

from sftkey_data.guards.regular_file import read_json_file
from sftkey_data.model_loading import load_config
from sftkey_train import ranks
from sftkey_train.loss.comparison import let_go
from sftkey_train.loss.output_layer import logits_are_plain
from sftkey_train.model.model import untrained_model
from sftkey_train.model.sharding import shard
from sftkey_train.recipe_tables import Attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_in_shares(
    name: str | Path, *, attention: Attention = "auto", half: bool = False, learns: bool = True, device: torch.device
) -> "PreTrainedModel | None":
    """The model of a folder or the hub as `shard` leaves it, with the weights that `load_model` would give it.

    All ranks must ask for it.

    Args:
        name: Directory or hub name.
        attention: That of the recipe.
        half: See `shard`.
        learns: Whether it is trained; else it is frozen.
        device: Where the shares lie.

    Returns:
        None where the files do not hold each weight of the model by its name and in its shape, as those of a mixture of
        experts, which transformers puts together from many; `load_model` reads or refuses them.
    """
    with ExitStack() as held:
        stored = _stored(str(name), held)
        if not stored:
            return None
        config = load_config(name)
        with init_empty_weights(include_buffers=False):  # buffers are computed: not all of them are in the files
            model = untrained_model(config, attention)
        model.tie_weights()
        sources = _sources(model, stored)
        if sources is None:
            return None
        model.requires_grad_(learns)
        model.eval()
        shard(model, half=half)
        _fill(model, {key: stored[source] for key, source in sources.items()}, device)
    with suppress(OSError):  # as transformers has it: else what is made of the model's configuration
        model.generation_config = GenerationConfig.from_pretrained(str(name))
    logits_are_plain(model)
    let_go(model)
    return model


def _stored(name: str, held: ExitStack) -> dict[str, Any]:
    """What the safetensors files of a model hold, by name, to be read in slices while they are held open."""
    if (path := _file(name, SAFE_WEIGHTS_NAME)) is not None:
        paths = [path]
    elif (index := _file(name, SAFE_WEIGHTS_INDEX_NAME)) is not None:
        names = dict.fromkeys(str(part) for part in read_json_file(index)["weight_map"].values())
        paths = [part for part in (_file(name, n) for n in names if n.endswith(".safetensors")) if part is not None]
    else:
        return {}
    files = [held.enter_context(safe_open(path, framework="pt")) for path in paths]
    return {key: file.get_slice(key) for file in files for key in file.keys()}  # noqa: SIM118  # no mapping


def _file(name: str, part: str) -> Path | None:
    with suppress(OSError):
        found = cached_file(name, part)
        return None if found is None else Path(found)
    return None


def _sources(model: "PreTrainedModel", stored: Mapping[str, Any]) -> dict[str, str] | None:
    """For each name in the model's state, that in the files; None where they do not fit as they are."""
    # Some are turned round under their own name, so names and shapes alone would not tell.
    if any(isinstance(change, WeightConverter) for change in get_model_conversion_mapping(model)):
        return None
    state: dict[str, Tensor] = model.state_dict(keep_vars=True)
    by_tensor: dict[int, list[str]] = {}
    for key, tensor in state.items():
        by_tensor.setdefault(id(tensor), []).append(key)
    sources: dict[str, str] = {}
    for keys in by_tensor.values():  # several where weights are tied, of which the files have one
        found = [key for key in keys if key in stored]
        if len(found) != 1 or list(state[found[0]].shape) != list(stored[found[0]].get_shape()):
            return None
        sources |= dict.fromkeys(keys, found[0])
    return sources if stored.keys() <= sources.keys() else None


@torch.no_grad()
def _fill(model: "PreTrainedModel", stored: Mapping[str, Any], device: torch.device) -> None:
    made: dict[int, nn.Parameter] = {}  # what the model ties is one share here, too
    for key, module, name, tensor in _tensors(model):
        if not isinstance(tensor, nn.Parameter):
            setattr(module, name, (stored[key][...].to(tensor.dtype) if key in stored else tensor).to(device))
            continue
        if id(stored[key]) not in made:
            share = _own_rows(stored[key], tensor, device)
            made[id(stored[key])] = nn.Parameter(share, requires_grad=tensor.requires_grad)
        setattr(module, name, made[id(stored[key])])


def _tensors(model: "PreTrainedModel") -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Parameters and buffers by their name in the model, and where they are."""
    for prefix, module in [*model.named_modules()]:
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            yield f"{prefix}.{name}".removeprefix("."), module, name, tensor


def _own_rows(stored: Any, parameter: Any, device: torch.device) -> DTensor:
    """This rank's rows as FSDP divides them: of 5, 2 ranks have 3 and 2; of 4, 3 ranks have 2, 2 and none."""
    num, (_, *others) = parameter.shape[0], parameter.shape
    each = -(-num // ranks.num_ranks())
    start = min(ranks.rank() * each, num)
    stop = min(start + each, num)
    rows = torch.empty(stop - start, *others, dtype=parameter.dtype, device=device)
    if start < stop:
        rows.copy_(stored[start:stop])
    mesh, placements = parameter.device_mesh, parameter.placements
    return DTensor.from_local(rows, mesh, placements, run_check=False, shape=parameter.shape, stride=parameter.stride())
