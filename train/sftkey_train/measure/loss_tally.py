"""What a number of forward passes cost, added up per region where it is computed, and read when it is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sftkey_data.schema import REGIONS
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch
from sftkey_train.loss.token_loss import sum_by_region

NUM_SCALARS = 5  # loss, KL, router loss, tokens, examples: what stands before the sums by region


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFigures:
    """Sums over the forward passes of one step or one measurement, as numbers."""

    loss: float
    kl: float  # of the anchored tokens, their mean as the stage normalises it
    router: float  # loss of a mixture of experts, without its coefficient
    tokens: int
    examples: int
    weighted_tokens: int  # tokens that carried weight
    loss_by_region: dict[str, float]  # mean per token, in nats, where any carried weight; the region's weight left out


def figures_of(sums: Sequence[float]) -> LossFigures:
    """The numbers in `LossTally.sums`."""
    loss, kl, router, tokens, examples = sums[:NUM_SCALARS]
    nll, count = sums[NUM_SCALARS : NUM_SCALARS + len(REGIONS)], sums[NUM_SCALARS + len(REGIONS) :]
    by_region = {region: n / num for region, n, num in zip(REGIONS, nll, count, strict=True) if num}
    return LossFigures(
        loss=loss,
        kl=kl,
        router=router,
        tokens=int(tokens),
        examples=int(examples),
        weighted_tokens=int(sum(count)),
        loss_by_region=by_region,
    )


class LossTally:
    """Sums over the forward passes of one step or one measurement; `add` each, then `read`.

    Until it is read, nothing of it leaves the device, so that adding does not wait for the device's work.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.sums = torch.zeros(NUM_SCALARS + 2 * len(REGIONS), dtype=torch.float64, device=device)
        """On the device: loss, KL, router loss, tokens, examples, then NLL and number of tokens of each region."""
        self._passes: list[tuple[tuple[str, ...], Tensor]] = []

    def add(self, batch: Batch, costs: Tensor, share: Tensor | None = None, router: Tensor | float = 0.0) -> None:
        """Count one forward pass.

        Args:
            batch: Its examples.
            costs: NLL of each token, shape (N,), in nats; of each anchored token the KL to the stage's first model.
            share: What it adds to the loss of the step.
            router: What it adds to the router loss of the step.
        """
        costs, is_target = costs.detach(), batch.anchor == 0
        nll, count = self.sums[NUM_SCALARS:].chunk(2)
        nll += sum_by_region(costs.where(is_target, 0.0), batch.regions, len(REGIONS))
        count += sum_by_region(is_target, batch.regions, len(REGIONS))
        anchored = (batch.anchor * costs).sum()
        scalars = (share, anchored, router, batch.num_tokens, len(batch.ids))
        for place, value in enumerate(scalars):
            if value is not None:
                self.sums[place] += value.detach() if isinstance(value, Tensor) else value
        faults = torch.zeros(len(batch.ids), device=costs.device).index_add(0, batch.rows, (~costs.isfinite()).float())
        self._passes.append((batch.ids, faults))

    def sum_over_ranks(self) -> None:
        """Count what all ranks have added; ids and suspects stay each rank's own."""
        ranks.add_up(self.sums)

    def read(self) -> LossFigures:
        """The sums as numbers; waits for the device."""
        return figures_of(self.sums.tolist())

    @property
    def loss(self) -> Tensor:
        """That of the step, a scalar on the device."""
        return self.sums[0]

    @property
    def ids(self) -> list[str]:
        """Of this rank's examples."""
        return [id_ for ids, _ in self._passes for id_ in ids]

    @property
    def suspects(self) -> list[str]:
        """Ids of this rank's examples with a token whose loss is not finite; waits for the device."""
        return [ids[row] for ids, faults in self._passes for row in faults.nonzero().flatten().tolist()]
