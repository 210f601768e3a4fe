"""The loss of a step without any shortcut: the logits of every token, one unpadded example at a time."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from sftkey_data.schema import REGIONS
from sftkey_train.batches.batch import Example, ExampleOrder
from sftkey_train.batches.placebo import with_placebo
from sftkey_train.loss.schedule import step_weights
from sftkey_train.recipe import Stage


class DetachedContext(DynamicCache):
    """Stores nothing; gives a layer its keys and values back, those of the first positions detached."""

    def __init__(self, config: Any, num_context: int) -> None:
        super().__init__(config=config)
        self.num_context = num_context

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        keys, values = (
            torch.cat([states[:, :, : self.num_context].detach(), states[:, :, self.num_context :]], dim=2)
            for states in (key_states, value_states)
        )
        return keys, values


def _mean(costs: Sequence[Tensor], weights: Sequence[Tensor], roles: Sequence[Tensor], kind: str) -> Tensor:
    """Costs, weights and roles per token of each example; the three normalisations as their definitions say."""
    if kind == "token":
        return sum((c * w).sum() for c, w in zip(costs, weights, strict=True)) / sum(w.sum() for w in weights)
    if kind == "example":
        return torch.stack([(c * w).sum() / w.sum() for c, w in zip(costs, weights, strict=True)]).mean()
    cost, weight, role = torch.cat(list(costs)), torch.cat(list(weights)), torch.cat(list(roles))
    present = [region for region in range(len(REGIONS)) if weight[role == region].sum() > 0]
    by_region = {region: weight[role == region][0] for region in present}
    return sum(cost[role == r].mean() * by_region[r] for r in present) / sum(by_region.values())


def _full_logits(model: PreTrainedModel, example: Example, num_context: int = 0) -> Tensor:
    cache = DetachedContext(model.config, num_context) if num_context else None
    return model(input_ids=example.input_ids[None], past_key_values=cache, use_cache=False).logits[0, :-1].float()


def plain_loss(
    model: PreTrainedModel,
    examples: Sequence[Example],
    stage: Stage,
    step: int,
    order: ExampleOrder,
    reference: PreTrainedModel,
) -> Tensor:
    """The loss of a step as its definition says; what a stage only reads has its keys and values detached."""
    by_region = dict(step_weights(stage, step, order.num_steps))
    costs, kls, weights, anchors, roles = [], [], [], [], []
    for example in examples:
        changed = with_placebo(example, order.seed, order.depth) if stage.placebo else example
        role, labels = changed.token_roles[1:], example.input_ids[1:]
        is_target = torch.tensor([REGIONS[r] in stage.target_regions for r in role])
        num_context = 0 if stage.context_gradient else int(is_target.nonzero()[0])
        log_q = _full_logits(model, example, num_context).log_softmax(-1)
        probabilities = log_q.exp()
        target = probabilities[torch.arange(len(labels)), labels]
        factors = {"nll": torch.ones(()), "dft": target.detach(), "focal": (1 - target) ** (stage.focal_gamma or 2)}
        weighed = role == REGIONS.index("key") if stage.token_loss == "focal" else torch.ones_like(role).bool()
        costs.append(-target.log() * torch.where(weighed, factors[stage.token_loss], 1.0))
        log_p = _full_logits(reference, example).log_softmax(-1).detach()
        kls.append((log_p.exp() * (log_p - log_q)).sum(-1))
        weights.append(torch.tensor([float(by_region[REGIONS[r]]) for r in role]))
        anchors.append(torch.tensor([float(REGIONS[r] in stage.anchored_regions) for r in role]))
        roles.append(role)
    loss = _mean(costs, weights, roles, stage.normalisation)
    return loss + stage.anchor * _mean(kls, anchors, roles, stage.normalisation) if stage.anchor else loss
