"""How many floating-point operations a step costs, and which share of the device's peak that is (MFU).

Counted per forward and backward pass, one multiply-add as two operations, as in Chowdhery et al. (PaLM, arXiv
2204.02311, appendix B), but only what is computed: padding is left out, the output layer runs at the predicted
positions alone, and frozen weights need no gradient. Recomputed activations are not counted (that would be HFU).

- body: `4 N + 2 N_trained` per input token, N the weights of all matrices between embedding and output layer
  (6 N in full fine-tuning; the gradient of a frozen matrix is not computed);
- output layer: `(4 + 2 if trained) H V` per predicted token;
- attention: `12 L H_q` per pair of a token and one that it sees, H_q = heads x head size: scores and values, 2 H_q each
  in the forward pass, twice that in the backward pass. A sliding window is not taken into account.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from sftkey_train.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Dense bf16 peaks in FLOP/s from NVIDIA's data sheets, by a part of the device's name; the first that fits.
PEAKS = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}


@dataclass(frozen=True, slots=True)
class FlopCount:
    """Operations of a training step of one model, per unit of work."""

    per_token: int
    per_label: int
    per_pair: int

    def of(self, batches: Iterable[Batch]) -> float:
        """Operations of forward and backward passes over `batches`."""
        return float(sum(self._of_batch(batch) for batch in batches))

    def _of_batch(self, batch: Batch) -> int:
        lengths = num_inputs(batch)
        pairs = int((lengths * (lengths + 1) // 2).sum())
        return self.per_token * int(lengths.sum()) + self.per_label * len(batch.labels) + self.per_pair * pairs


def num_inputs(batch: Batch) -> torch.Tensor:
    """How many tokens of each example are put into the model, padding aside, int64 of shape (B,)."""
    if batch.position_ids is None:
        in_row = batch.positions.cpu() - batch.rows.cpu() * batch.input_ids.shape[1] + 1
    else:  # packed: they count within each example
        in_row = batch.position_ids.flatten().cpu()[batch.positions.cpu()] + 1
    return torch.zeros(len(batch.ids), dtype=torch.int64).scatter_reduce_(0, batch.rows.cpu(), in_row, "amax")


def flop_count(model: "PreTrainedModel") -> FlopCount:
    """The cost of a model as it is trained: adapters, and what they leave frozen, are seen in its parameters."""
    head: torch.Tensor = model.get_output_embeddings().weight
    looked_up = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    outside = {id(weight) for weight in [*looked_up, head]}
    body = [p for p in model.parameters() if p.dim() >= 2 and id(p) not in outside]
    config = model.config.get_text_config()
    heads: int = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return FlopCount(
        per_token=sum((6 if p.requires_grad else 4) * p.numel() for p in body),
        per_label=(6 if head.requires_grad else 4) * head.numel(),
        per_pair=12 * config.num_hidden_layers * heads * head_size,
    )


def peak_flops(given: float | None, device: torch.device, precision: Literal["fp32", "bf16"]) -> float | None:
    """FLOP/s that one device could reach: as given, else looked up for bf16 on a known GPU, else unknown."""
    if given is not None or device.type != "cuda" or precision != "bf16":
        return given
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in PEAKS.items() if part in name), None)
