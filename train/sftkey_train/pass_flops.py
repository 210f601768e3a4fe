"""How many floating-point operations a pass costs, counted from the model's layers: an add and a multiply are two."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn
from transformers.pytorch_utils import Conv1D

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# A matrix product costs one forward pass, and in the backward pass one for its input and one for its weight.
PASSES = 3


@dataclass(frozen=True, slots=True)
class Flops:
    """What the parts of one forward pass cost; norms, softmax and activation functions are left out.

    `attention` holds the two products of queries, keys and values alone, over the causal half of the pairs.
    """

    layers: int
    attention: int
    head: int

    @property
    def training(self) -> int:
        """Forward and backward."""
        return PASSES * (self.layers + self.attention + self.head)


def forward_flops(model: "PreTrainedModel", lengths: Sequence[int], num_projected: int) -> Flops:
    """Cost of one forward pass over whole examples; padding is left out.

    Worked: two layers of one 4 x 4 matrix, examples of 2 and 3 tokens: 5 tokens x 2 x 16 x 2 layers = 320. With one
    head of dimension 4, 3 + 6 pairs of a query and a key x 2 products x 2 x 4 x 2 layers = 288. A head of 4 x 10 at 3
    positions: 3 x 2 x 40 = 240.

    Args:
        model: Only its shapes matter.
        lengths: Tokens of each example.
        num_projected: Positions that go through the output layer.
    """
    head = model.get_output_embeddings()
    weights = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear | Conv1D) and m is not head)
    config = model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = sum(length * (length + 1) // 2 for length in lengths)
    return Flops(
        layers=2 * weights * sum(lengths),
        attention=2 * 2 * width * config.num_attention_heads * config.num_hidden_layers * pairs,
        head=2 * head.weight.numel() * num_projected,
    )
