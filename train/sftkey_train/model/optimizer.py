"""AdamW as a stage asks for it."""

import math
from typing import TYPE_CHECKING

import torch
from torch.distributed.tensor import DTensor

from sftkey_train.recipe import Stage

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import PreTrainedModel


def build_optimizer(model: "PreTrainedModel", stage: Stage) -> torch.optim.AdamW:
    """A fresh AdamW over what is trained; matrices decay, norms and biases (fewer than two dimensions) do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=stage.lr, betas=stage.betas, fused=True)


def set_learning_rate(optimizer: "Optimizer", rate: float) -> None:
    """Use `rate` for every parameter from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def clip_gradients(model: "PreTrainedModel", max_norm: float) -> float:
    """Scale all gradients down to a common norm of at most `max_norm` (0: leave them) and return the norm they had."""
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm or math.inf)  # infinity measures, clips nothing
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)
