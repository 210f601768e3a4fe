"""What a training step needs in memory, found without memory for it: the forward pass runs on shapes alone."""

from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional

from sftkey_train.loss import selected_logits
from sftkey_train.model import untrained_model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from sftkey_train.batches import Batch

FLOAT = 4  # bytes of an fp32 number
ADAM_MOMENTS = 2
# Where the backward pass begins, beside what the forward pass kept: the gradients of log-probabilities and of logits.
LOGITS_GRADIENTS = 2


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that are there at once where the backward pass begins, from the second step of a stage on.

    weights: 4 a parameter (fp32, also under bf16 autocast). gradients: 4 a trainable parameter. optimizer: 8 a
    trainable parameter (AdamW's two moments). activations: all that the layers keep for the backward pass, each tensor
    once (with bf16 also autocast's copies of the weights). logits: all that is as wide as the vocabulary: what the loss
    keeps and, where it keeps any, 2 x 4 x N x V for the gradients. Left out: the program itself, fragmentation, and
    what single operations need while they run. Logits are counted as if all of them were kept, which is more than the
    loss in one with the output layer needs, see `head.linear_nll`.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All together."""
        return sum(astuple(self))

    def parts(self) -> dict[str, int]:
        """Bytes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def skeleton(config: "PreTrainedConfig", mode: FakeTensorMode) -> "PreTrainedModel":
    """The model with shapes and no numbers; it takes no memory."""
    with mode:
        model = untrained_model(config)
    model.train()
    return model


def estimate_memory(config: "PreTrainedConfig", batch: "Batch", precision: Literal["fp32", "bf16"]) -> MemoryEstimate:
    """Memory of training on `batch` as one forward pass.

    Args:
        config: The model's.
        batch: The largest of the stage.
        precision: That of the recipe.
    """
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model = skeleton(config, mode)
        sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
        weights, trainable = sum(n for n, _ in sizes), sum(n for n, trained in sizes if trained)
        layers, logits, is_wide = kept_for_backward(model, batch, precision)
    gradients = LOGITS_GRADIENTS * FLOAT * len(batch.labels) * model.config.get_text_config().vocab_size
    return MemoryEstimate(
        weights=FLOAT * weights,
        gradients=FLOAT * trainable,
        optimizer=ADAM_MOMENTS * FLOAT * trainable,
        activations=layers,
        logits=logits + (gradients if is_wide else 0),
    )


def kept_for_backward(
    model: "PreTrainedModel", batch: "Batch", precision: Literal["fp32", "bf16"]
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
        nll = functional.cross_entropy(selected_logits(model, batch).float(), batch.labels, reduction="none")
    del nll  # the graph, and with it what was counted, lived until here
    return sum(layers.values()), sum(logits.values()), bool(logits)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
