"""The row of metrics.jsonl that an optimizer step leaves."""

from collections.abc import Mapping
from typing import Any

from sftkey_train.measure.unread_steps import StepFigures
from sftkey_train.recipe import Stage, Weights


def step_row(
    stage: Stage,
    step: int,
    figures: StepFigures,
    rate: float,
    speed: Mapping[str, float],
    weights: Weights,
    router_coefficient: float,
) -> dict[str, Any]:
    """What is known of one step, over all ranks.

    Args:
        stage: Whose step it is.
        step: 1 for the first.
        figures: What it has come to.
        rate: Its learning rate.
        speed: See `Pace.speed`.
        weights: Of the regions in this step.
        router_coefficient: Of the model's router loss; 0: it has none.
    """
    loss = figures.loss
    row: dict[str, Any] = {
        "kind": "train",
        "stage": stage.name,
        "step": step,
        "loss": loss.loss,
        "lr": rate,
        "grad_norm": figures.grad_norm,
        "tokens": loss.tokens,
        "weighted_tokens": loss.weighted_tokens,
        "examples": loss.examples,
        **speed,
        "loss_by_region": loss.loss_by_region,
        "weights": dict(weights),
        "normalisation": stage.normalisation,
    }
    row |= {"anchor_kl": loss.kl} if stage.anchor else {}
    router = {"router_loss": loss.router, "router_coefficient": router_coefficient}
    return row | (router if router_coefficient else {})
