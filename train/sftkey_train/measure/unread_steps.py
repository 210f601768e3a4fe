"""Optimizer steps whose figures are still on the device, and how fast steps go."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sftkey_data.errors import SFTKeyError
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch, shown_ids
from sftkey_train.measure.loss_tally import LossFigures, LossTally, figures_of


@dataclass(frozen=True, slots=True)
class StepFigures:
    """What one optimizer step has come to, over all ranks."""

    loss: LossFigures
    grad_norm: float  # before clipping


class UnreadSteps:
    """Steps in order, until they are read: only then the host waits for the device.

    Whether all of them are finite is known on the device meanwhile, and none behind one that is not may change weights.
    """

    def __init__(self, stage: str, device: torch.device) -> None:
        self._stage = stage
        self._steps: list[tuple[int, LossTally, Tensor]] = []
        self.all_finite = torch.ones((), dtype=torch.bool, device=device)
        """Whether loss and gradient norm of each step so far are finite, a scalar on the device."""

    def add(self, step: int, tally: LossTally, grad_norm: Tensor) -> None:
        """Count a step before its weights change; loss and norm are those of all ranks."""
        self._steps.append((step, tally, grad_norm))
        self.all_finite = self.all_finite & tally.loss.isfinite() & grad_norm.isfinite()

    def read(self) -> StepFigures | None:
        """The figures of the latest step; None where it has been read already. All ranks must ask for them.

        Raises:
            SFTKeyError: Loss or gradient norm of a step is not finite; the first such step is named.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return None
        rows = torch.stack([torch.cat([tally.sums, norm[None].to(tally.sums)]) for _, tally, norm in steps]).tolist()
        for (step, tally, _), (*sums, norm) in zip(steps, rows, strict=True):
            figures = StepFigures(figures_of(sums), norm)
            _refuse_non_finite(figures, tally, f"stage {self._stage!r} step {step}")
        return figures


def _refuse_non_finite(figures: StepFigures, tally: LossTally, where: str) -> None:
    loss, grad_norm = figures.loss.loss, figures.grad_norm
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return
    # Gathered by all ranks: the sums have told each of them that something is not finite, one alone knows what.
    suspects = [id_ for ids in ranks.gather(tally.suspects) for id_ in ids]
    ids = suspects or [id_ for ids in ranks.gather(tally.ids) for id_ in ids]
    found = f"gradient norm is {grad_norm}" if math.isfinite(loss) else f"loss is {loss}"
    raise SFTKeyError(f"{where}: {found}, stopped before the optimizer step; examples: {shown_ids(ids)}")


@dataclass
class Pace:
    """Time and work of the steps since the last row of metrics."""

    seconds: float = 0.0
    tokens: int = 0  # this rank's, as are the operations
    flops: float = 0.0
    num_steps: int = 0

    def add(self, batches: Sequence[Batch], flops: float, seconds: float) -> None:
        """Count one step."""
        self.tokens += sum(batch.num_tokens for batch in batches)
        self.flops += flops
        self.seconds += seconds
        self.num_steps += 1

    def speed(self, peak_flops: float | None) -> dict[str, float]:
        """Seconds a step, tokens per second of all ranks, FLOP/s of one device, and MFU where its peak is known."""
        per_second = ranks.total(self.flops) / self.seconds / ranks.num_ranks()
        speed = {
            "seconds": self.seconds / self.num_steps,
            "tokens_per_second": ranks.total(self.tokens) / self.seconds,
            "flops_per_second": per_second,
        }
        return speed if peak_flops is None else speed | {"mfu": per_second / peak_flops}
