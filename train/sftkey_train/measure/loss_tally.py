"""What a number of forward passes cost, added up per region."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sftkey_data.schema import REGIONS
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch
from sftkey_train.loss.token_loss import sum_by_region


@dataclass
class LossTally:
    """Sums over the forward passes of one step or one measurement; `add` each, then read."""

    loss: float = 0.0
    kl: float = 0.0  # of the anchored tokens, their mean as the stage normalises it
    router: float = 0.0  # loss of a mixture of experts, without its coefficient
    tokens: int = 0
    examples: int = 0
    suspects: list[str] = field(default_factory=list)  # ids of examples with a token whose loss is not finite
    _nll: Tensor = field(default_factory=lambda: torch.zeros(len(REGIONS), dtype=torch.float64))
    _count: Tensor = field(default_factory=lambda: torch.zeros(len(REGIONS), dtype=torch.float64))

    def add(self, batch: Batch, costs: Tensor, share: Tensor | None = None, router: Tensor | float = 0.0) -> None:
        """Count one forward pass.

        Args:
            batch: Its examples.
            costs: NLL of each token, shape (N,), in nats; of each anchored token the KL to the stage's first model.
            share: What it adds to the loss of the step.
            router: What it adds to the router loss of the step.
        """
        is_target = batch.anchor == 0
        self._nll += sum_by_region(costs.where(is_target, 0.0), batch.regions, len(REGIONS)).cpu()
        self._count += sum_by_region(is_target, batch.regions, len(REGIONS)).cpu()
        self.loss += 0.0 if share is None else float(share.detach())
        self.router += float(router)
        self.kl += float((batch.anchor * costs.detach()).sum())
        self.tokens += batch.num_tokens
        self.examples += len(batch.ids)
        if not math.isfinite(float(costs.detach().sum())):
            self.suspects += [batch.ids[row] for row in batch.rows[~costs.isfinite()].unique().tolist()]

    def sum_over_ranks(self) -> None:
        """Count what all ranks have added; the suspects stay each rank's own."""
        own = torch.tensor([self.loss, self.kl, self.router, self.tokens, self.examples], dtype=torch.float64)
        summed = ranks.add_up(torch.cat([own, self._nll, self._count]))
        (self.loss, self.kl, self.router, tokens, examples), sums = summed[:5].tolist(), summed[5:].chunk(2)
        self.tokens, self.examples, (self._nll, self._count) = int(tokens), int(examples), sums

    @property
    def weighted_tokens(self) -> int:
        """How many tokens carried weight."""
        return int(self._count.sum())

    @property
    def loss_by_region(self) -> dict[str, float]:
        """Mean loss per token, in nats, of each region that carried weight; the region's weight is left out."""
        means = zip(REGIONS, self._nll.tolist(), self._count.tolist(), strict=True)
        return {region: nll / count for region, nll, count in means if count}
