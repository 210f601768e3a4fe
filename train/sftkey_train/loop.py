"""The training loop. Every stage of every recipe goes through it; what it calls is pure or in one small file."""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_train.batches import Batch, Examples, Order, shown
from sftkey_train.checkpoint import StageFolder, restore_checkpoint, save_checkpoint
from sftkey_train.heldout import measure
from sftkey_train.loss import token_nll, weighted_loss
from sftkey_train.metrics import MetricsLog
from sftkey_train.optimizer import build_optimizer, clip_gradients, set_learning_rate
from sftkey_train.packing import forward_passes, packs
from sftkey_train.recipe import Stage
from sftkey_train.schedule import learning_rate
from sftkey_train.tally import Tally

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """What one stage trains on, measures, and writes to."""

    stage: Stage
    order: Order
    examples: Examples
    heldout: list[Batch]
    folder: StageFolder
    metrics: MetricsLog
    precision: Literal["fp32", "bf16"]
    seed: int
    pad_token_id: int


def train_stage(run: StageRun, model: "PreTrainedModel") -> None:
    """Train `model` in place to the end of one stage, from its latest checkpoint where it has one.

    Raises:
        SFTKeyError: The loss or the gradient norm is not finite; the weights are those before that step.
    """
    stage, num_steps, device = run.stage, run.order.num_steps, model.device
    optimizer = build_optimizer(model, stage)
    done = _begin(run, model, optimizer)
    packed = packs(model, stage, run.examples)
    model.train()
    with progress(stage.name, num_steps) as bar:
        bar.update(bar.task_ids[0], completed=done)
        for step in range(done + 1, num_steps + 1):
            started, tally = time.perf_counter(), Tally()
            examples = [run.examples[i] for i in run.order.batch(step)]
            batches = forward_passes(examples, stage.region_weights, stage, run.pad_token_id, packed=packed)
            total_weight = sum(float(batch.weights.double().sum()) for batch in batches)

            for batch in (batch.to(device) for batch in batches):
                with _precision(run, device):
                    nll = token_nll(model, batch, context_gradient=stage.context_gradient)
                share = weighted_loss(nll, batch.weights, total_weight)
                share.backward()  # gradients of the micro-batches add up to those of the whole batch
                tally.add(batch, nll, share)
            grad_norm = clip_gradients(model, stage.max_grad_norm)
            _refuse_non_finite(tally, grad_norm, batches, f"stage {stage.name!r} step {step}")

            rate = learning_rate(stage, step, num_steps)
            set_learning_rate(optimizer, rate)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

            seconds = time.perf_counter() - started
            text = f"{stage.name}  loss {tally.loss:.4f}  {tally.tokens / seconds:,.0f} tokens/s"
            bar.update(bar.task_ids[0], completed=step, description=text)
            if _is_due(step, stage.log_every, num_steps):
                _log(run, step, tally, rate, grad_norm, seconds)
            if run.heldout and _is_due(step, stage.eval_every, num_steps):
                _log_heldout(run, step, model)
            if stage.save_every and step % stage.save_every == 0:
                save_checkpoint(run.folder, step, model, optimizer)


def _begin(run: StageRun, model: "PreTrainedModel", optimizer: torch.optim.Optimizer) -> int:
    """The step after which the stage goes on, with optimizer and random generators as they were then."""
    if (checkpoint := run.folder.latest) is not None:
        return restore_checkpoint(checkpoint, optimizer)
    torch.manual_seed(run.seed)
    if run.heldout:
        _log_heldout(run, 0, model)
    return 0


def _precision(run: StageRun, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16")


def _is_due(step: int, every: int, num_steps: int) -> bool:
    return step == num_steps or (every > 0 and step % every == 0)


def _refuse_non_finite(tally: Tally, grad_norm: float, batches: list[Batch], where: str) -> None:
    if math.isfinite(tally.loss) and math.isfinite(grad_norm):
        return
    ids = tally.suspects or [id_ for batch in batches for id_ in batch.ids]
    found = f"loss is {tally.loss}" if not math.isfinite(tally.loss) else f"gradient norm is {grad_norm}"
    raise SFTKeyError(f"{where}: {found}, stopped before the optimizer step; examples: {shown(ids)}")


def _log(run: StageRun, step: int, tally: Tally, rate: float, grad_norm: float, seconds: float) -> None:
    row = {
        "kind": "train",
        "stage": run.stage.name,
        "step": step,
        "loss": tally.loss,
        "lr": rate,
        "grad_norm": grad_norm,
        "tokens": tally.tokens,
        "weighted_tokens": tally.weighted_tokens,
        "examples": tally.examples,
        "seconds": seconds,
        "tokens_per_second": tally.tokens / seconds,
        "loss_by_region": tally.loss_by_region,
    }
    run.metrics.append(row)


def _log_heldout(run: StageRun, step: int, model: "PreTrainedModel") -> None:
    with _precision(run, model.device):
        measured = measure(model, run.heldout)
    run.metrics.append({"kind": "heldout", "stage": run.stage.name, "step": step, **measured})
