"""What a training step needs in memory, found without memory for it: the forward pass runs on shapes alone."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from sftkey_train.batches.batch import Batch
from sftkey_train.loss.context_cache import cache_kept_small, layout, read_context
from sftkey_train.loss.output_layer import head_sees
from sftkey_train.loss.token_loss import selected_logits
from sftkey_train.model.lora import add_adapter
from sftkey_train.model.model import recompute_activations, untrained_model
from sftkey_train.model.optimizer import optimizer_bytes
from sftkey_train.model.quantization import NF4_BYTES, to_be_quantized
from sftkey_train.model.sharding import gathers_in_half
from sftkey_train.recipe import OptimizerName
from sftkey_train.recipe_tables import Attention, Lora

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

FLOAT, HALF_FLOAT = 4, 2  # bytes of a number in fp32 and in bf16
# Where the backward pass begins, beside what the forward pass kept: the gradients of log-probabilities and of logits.
LOGITS_GRADIENTS = 2


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that are there at once where the backward pass begins, from the second step of a stage on.

    Left out: the program itself, fragmentation, and what single operations need while they run. Of weights, gradients,
    optimizer and reference, each of several processes with FSDP has its share.

    Args:
        weights: 4 a parameter: fp32, also under bf16 autocast; in 4 bits 0.516.
        gradients: 4 a trainable parameter; with `reduce_once` each process has them whole.
        optimizer: What it keeps: 8 a trainable parameter for AdamW's two moments, see `optimizer_bytes`.
        gathered: With FSDP, what each process has whole for a time: the weights of two layers, and weights and
            gradients of what is in no layer.
        reference: The frozen weights that an anchor compares with.
        activations: What the layers keep for the backward pass, each tensor once. With bf16, autocast's copies of the
            weights are among it, but not those of layers that FSDP gathers in bf16; where a context is only read, its
            keys and values; where activations are recomputed, the inputs of all layers and the rest of one.
        logits: What is as wide as the vocabulary: all that the loss keeps and, where it keeps any, 2 x 4 x N x V for
            the gradients. More than is needed where the loss is in one with the output layer, see
            `output_layer.linear_nll`, which never holds all logits.
    """

    weights: int
    gradients: int
    optimizer: int
    gathered: int
    reference: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All together."""
        return sum(astuple(self))

    def parts(self) -> dict[str, int]:
        """Bytes by name, of what there is."""
        return {field.name: size for field in fields(self) if (size := getattr(self, field.name))}


def skeleton(
    config: "PreTrainedConfig", mode: FakeTensorMode, lora: Lora | None = None, attention: Attention = "auto"
) -> "PreTrainedModel":
    """The model as it is trained, with shapes and no numbers; it takes no memory."""
    with torch.device("meta"):  # peft cannot put an adapter into a model of fake tensors
        model = untrained_model(config, attention)
        if lora is not None:
            add_adapter(model, lora, seed=0)
    made: dict[int, Tensor] = {}  # what the model ties is one tensor here, too
    for module in model.modules():
        for name, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            setattr(module, name, made.setdefault(id(tensor), _as_fake(tensor, mode)))
    model.train()
    return model


def _as_fake(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    with mode:
        fake = torch.empty(tensor.shape, dtype=tensor.dtype)
        return nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def estimate_memory(
    config: "PreTrainedConfig",
    batch: Batch,
    precision: Literal["fp32", "bf16"],
    *,
    attention: Attention = "auto",
    lora: Lora | None = None,
    optimizer: OptimizerName = "adamw",
    gradient_checkpointing: bool = False,
    context_gradient: bool = True,
    anchor: bool = False,
    num_shares: int = 1,
    reduce_once: bool = False,
) -> MemoryEstimate:
    """Memory of training on `batch` as one forward pass.

    Args:
        config: The model's.
        batch: The largest of the stage, on a CPU.
        precision: That of the recipe, as are `lora` and `gradient_checkpointing`.
        attention: That of the recipe. Only `eager` keeps what grows with the square of the length; the others, of
            which not all run on shapes, count as the model's usual one.
        lora: The adapter, which alone is trained.
        optimizer: That of the stage.
        gradient_checkpointing: Whether activations are recomputed.
        context_gradient: That of the stage.
        anchor: Whether the stage has one.
        num_shares: Into how many processes FSDP divides the model; 1: it does not.
        reduce_once: That of the recipe.

    Returns:
        Of one process; the same numbers whatever the machine, as nothing is computed but shapes.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model = skeleton(config, mode, lora, attention if attention == "eager" else "auto")
        weights, trainable = _sizes(model.parameters())
        in_bits = 0 if lora is None or lora.quantization is None else _quantize(model, precision)
        half = num_shares > 1 and gathers_in_half(precision, lora)
        gathered = _gathered(model, half=half, reduce_once=reduce_once) if num_shares > 1 else 0
        layers, logits, is_wide = kept_for_backward(model, batch, precision, context_gradient=context_gradient)
        if gradient_checkpointing and context_gradient:  # over a cache, nothing is recomputed
            recompute_activations(model)
            inputs, *_ = kept_for_backward(model, batch, precision)
            layers = inputs + (layers - inputs) // model.config.get_text_config().num_hidden_layers
    gradients = LOGITS_GRADIENTS * FLOAT * len(batch.labels) * model.config.get_text_config().vocab_size
    whole = FLOAT * (weights - in_bits) + int(NF4_BYTES * in_bits)
    return MemoryEstimate(
        weights=whole // num_shares,
        gradients=FLOAT * trainable // (1 if reduce_once else num_shares),
        optimizer=optimizer_bytes(model, optimizer) // num_shares,
        gathered=gathered,
        reference=whole // num_shares if anchor else 0,
        activations=layers,
        logits=logits + (gradients if is_wide else 0),
    )


def _quantize(model: "PreTrainedModel", precision: Literal["fp32", "bf16"]) -> int:
    """How many numbers are in 4 bits; what they are computed with is there for a moment only, not for the backward."""
    layers = list(to_be_quantized(model))
    for layer in layers if precision == "bf16" else ():  # else autocast would keep a copy
        layer.weight = nn.Parameter(layer.weight.to(torch.bfloat16), requires_grad=False)
    return sum(layer.weight.numel() for layer in layers)


def _sizes(parameters: Iterable[nn.Parameter]) -> tuple[int, int]:
    """Numbers in them, and numbers in those that are trained."""
    sizes = [(p.numel(), p.requires_grad) for p in parameters]
    return sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)


def _gathered(model: "PreTrainedModel", *, half: bool, reduce_once: bool) -> int:
    """Bytes gathered at once; where layers are in bf16 then, they are so in the model afterwards."""
    together = set(model._no_split_modules or ())
    in_layers = [[*m.parameters()] for m in model.modules() if type(m).__name__ in together]
    layers = [_sizes(parameters)[0] for parameters in in_layers]
    within = {id(p) for parameters in in_layers for p in parameters}
    outside, learning = _sizes(p for p in model.parameters() if id(p) not in within)
    if not reduce_once:  # else its gradients are among those that are there all the time
        outside += learning
    # Two: the layer that runs, and the one that is gathered ahead of its turn.
    at_once = FLOAT * outside + (HALF_FLOAT if half else FLOAT) * 2 * max(layers, default=0)
    for module in model.modules() if half else ():
        for name, parameter in [*module.named_parameters(recurse=False)]:
            if id(parameter) in within:
                setattr(module, name, nn.Parameter(parameter.to(torch.bfloat16), parameter.requires_grad))
    return at_once


def kept_for_backward(
    model: "PreTrainedModel", batch: Batch, precision: Literal["fp32", "bf16"], *, context_gradient: bool = True
) -> tuple[int, int, bool]:
    """Bytes that a forward pass keeps for the backward pass: of the layers, of the logits, and whether any are there.

    Parameters and buffers are left out; of tensors that share memory, it counts once. So are masks over pairs of
    positions: without numbers, transformers cannot see that a batch needs none and makes one (and repeats the keys and
    values that heads share, which makes the estimate for such models a little too high).
    """
    own = {_storage(t) for t in (*model.parameters(), *model.buffers())}
    vocab_size = model.config.get_text_config().vocab_size
    num_positions = batch.input_ids.shape[1]
    layers: dict[int, int] = {}
    logits: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        is_mask = not tensor.requires_grad and tensor.shape[-2:] == (num_positions, num_positions)
        if (place := _storage(tensor)) not in own and not is_mask:
            is_wide = tensor.dim() > 1 and tensor.shape[-1] == vocab_size
            (logits if is_wide else layers)[place] = tensor.untyped_storage().nbytes()
        return tensor

    with (
        saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        selected = selected_logits(model, batch) if context_gradient else _answer_logits(model, batch)
        nll = functional.cross_entropy(selected.float(), batch.labels, reduction="none")
        del selected
    del nll  # the graph, and with it what was counted, lived until here
    return sum(layers.values()), sum(logits.values()), bool(logits)


def _answer_logits(model: "PreTrainedModel", batch: Batch) -> Tensor:
    """As `selected_logits` without context gradient; where the contexts begin is read from numbers, not from shapes."""
    with unset_fake_temporarily():
        aligned = layout(batch)
    inputs = read_context(model, aligned)
    with head_sees(model, aligned.positions), cache_kept_small(model):
        logits: Tensor = model(**inputs).logits
    return logits[0]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
