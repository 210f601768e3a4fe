"""What a stage asks for and cannot have, refused before the first step of the run."""

import torch

from sftkey_train.batches.batch import Examples
from sftkey_train.batches.packing import check_budget
from sftkey_train.loss.objective import check_targets
from sftkey_train.loss.router_loss import check_router_options
from sftkey_train.loss.schedule import check_schedule
from sftkey_train.model.optimizer import check_optimizer
from sftkey_train.recipe import Stage


def check_stage(
    stage: Stage, examples: Examples, num_steps: int, coefficient: float, device: torch.device, *, sharded: bool
) -> None:
    """Refuse a stage whose options do not fit its data, its length or the model.

    Args:
        stage: Whose options fit together, as the recipe has checked.
        examples: What it trains on.
        num_steps: Its optimizer steps.
        coefficient: Of the model's router loss, see `router_coefficient`.
        device: What it trains on.
        sharded: Whether each process holds a share of the model.

    Raises:
        SFTKeyError: One line that names the stage.
    """
    check_router_options(stage, coefficient, sharded=sharded)
    check_targets(stage, examples)
    check_budget(stage, examples)
    check_schedule(stage, num_steps)
    check_optimizer(stage, device)
