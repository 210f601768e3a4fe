"""How many floating-point operations a step costs, and which share of the device's peak that is (MFU).

Counted per forward and backward pass, one multiply-add as two operations, as in Chowdhery et al. (PaLM, arXiv
2204.02311, appendix B), but only what is computed: padding is left out, the output layer runs at the predicted
positions alone, and frozen weights need no gradient. Recomputed activations are not counted (that would be HFU).

- body: `4 N + 2 N_trained` per input token, N the weights of all matrices between embedding and output layer
  (6 N in full fine-tuning; the gradient of a frozen matrix is not computed);
- output layer: `(4 + 2 if trained) H V` per predicted token;
- attention: `12 L H_q` per pair of a token and one that it sees, L the layers with attention and H_q = heads x head
  size: scores and values, 2 H_q each in the forward pass, twice that in the backward pass. A sliding window is not
  taken into account, nor what layers without attention (Mamba's) compute beside their matrices;
- what is only read, a context without gradient or all that a stage's reference sees, has a forward pass alone: `2 N`
  per token, `2 H V` per predicted token, `4 L H_q` per pair of a read token and one that it sees.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from sftkey_train.batches.batch import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

# Dense bf16 peaks in FLOP/s from NVIDIA's data sheets, by a part of the device's name; the first that fits, so the
# forms with a name of their own come before the plain H100.
PEAKS = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}

# Kinds of layers, by transformers' names, that compare no token with another.
WITHOUT_ATTENTION = ("linear_attention", "mamba", "conv", "recurrent", "mlp", "moe")


@dataclass(frozen=True, slots=True)
class StepWork:
    """Tokens put in, tokens predicted, pairs of a token and one that it sees; or operations for one of each."""

    tokens: int
    labels: int
    pairs: int

    def at(self, cost: "StepWork") -> int:
        """Operations of this work."""
        return self.tokens * cost.tokens + self.labels * cost.labels + self.pairs * cost.pairs


@dataclass(frozen=True, slots=True)
class FlopCount:
    """Operations of a training step of one model, per unit of work: where it learns, and where it only reads."""

    learning: StepWork
    reading: StepWork

    def of(self, batches: Iterable[Batch], *, context_gradient: bool = True, has_reference: bool = False) -> float:
        """Operations of forward and backward passes over `batches`.

        Args:
            batches: Those of one step.
            context_gradient: Whether what precedes the answer learns too, as in the stage.
            has_reference: Whether a frozen model of the same shape reads the batches as well, for an anchor.
        """
        total = 0
        for batch in batches:
            whole = step_work(num_inputs(batch), len(batch.labels))
            read = step_work(0 if context_gradient else num_context(batch), 0)
            learned = StepWork(whole.tokens - read.tokens, whole.labels, whole.pairs - read.pairs)
            total += learned.at(self.learning) + read.at(self.reading)
            if has_reference:
                total += step_work(num_inputs(batch), int((batch.anchor > 0).sum())).at(self.reading)
        return float(total)


def step_work(lengths: torch.Tensor | int, num_labels: int) -> StepWork:
    """What examples of these lengths are, with so many predicted tokens. Lengths 2 and 3: 5 tokens, 3 + 6 pairs."""
    lengths = torch.as_tensor(lengths)
    return StepWork(int(lengths.sum()), num_labels, int((lengths * (lengths + 1) // 2).sum()))


def num_inputs(batch: Batch) -> torch.Tensor:
    """How many tokens of each example are put into the model, padding aside, int64 of shape (B,)."""
    return _by_example(batch, "amax") + 1


def num_context(batch: Batch) -> torch.Tensor:
    """How many tokens of each example precede the one that predicts its first target, int64 of shape (B,)."""
    return _by_example(batch, "amin")


def _by_example(batch: Batch, reduce: Literal["amin", "amax"]) -> torch.Tensor:
    """The least or greatest place, from 0 in each example, that predicts a target."""
    if batch.position_ids is None:
        places = batch.positions.cpu() - batch.rows.cpu() * batch.input_ids.shape[1]
    else:  # packed: they count within each example
        places = batch.position_ids.flatten().cpu()[batch.positions.cpu()]
    none = torch.zeros(len(batch.ids), dtype=torch.int64)
    return none.scatter_reduce_(0, batch.rows.cpu(), places, reduce, include_self=False)


def flop_count(model: "PreTrainedModel") -> FlopCount:
    """The cost of a model as it is trained: adapters, and what they leave frozen, are seen in its parameters."""
    head: torch.Tensor = model.get_output_embeddings().weight
    # Rows of an embedding are looked up, not multiplied; one that is tied to the output layer counts as that.
    looked_up = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    outside = {id(weight) for weight in [*looked_up, head]}
    body = [p for p in model.parameters() if p.dim() >= 2 and id(p) not in outside]
    # Scores and values, 2 H_q each. Llama 3.2 1B, 16 layers of 32 heads of 64: 131,072 for a pair that is only read.
    pair = 4 * _attention_width(model.config.get_text_config())
    return FlopCount(
        learning=StepWork(
            tokens=sum((6 if p.requires_grad else 4) * p.numel() for p in body),
            labels=(6 if head.requires_grad else 4) * head.numel(),
            pairs=3 * pair,
        ),
        reading=StepWork(tokens=sum(2 * p.numel() for p in body), labels=2 * head.numel(), pairs=pair),
    )


def _attention_width(config: "PreTrainedConfig") -> int:
    """`L H_q` of a model: heads x head size, over its layers with attention; 0 where it has none."""
    kinds = getattr(config, "layer_types", None) or ["attention"] * config.num_hidden_layers
    layers = sum(kind not in WITHOUT_ATTENTION for kind in kinds)
    heads = getattr(config, "num_attention_heads", None)
    if not layers or not heads:
        return 0
    head_size: int = getattr(config, "head_dim", None) or config.hidden_size // heads
    return layers * int(heads) * head_size


def peak_flops(given: float | None, device: torch.device, precision: Literal["fp32", "bf16"]) -> float | None:
    """FLOP/s that one device could reach: as given, else looked up for bf16 on a known GPU, else unknown."""
    if given is not None or device.type != "cuda" or precision != "bf16":
        return given
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)
