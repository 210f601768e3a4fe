"""The training loop. Every stage of every recipe goes through it; what it calls is pure or in one small file."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from sftkey_data.console import progress
from sftkey_train import ranks
from sftkey_train.batches.batch import Batch, ExampleOrder, Examples
from sftkey_train.batches.batches_ahead import made_ahead
from sftkey_train.checkpoint.checkpoint import StageFolder, restore_checkpoint, save_checkpoint
from sftkey_train.loss.embedding_noise import noisy_embeddings
from sftkey_train.loss.objective import batch_loss, collated_batches, token_costs, weighted_batches
from sftkey_train.loss.parity import packs
from sftkey_train.loss.router_loss import Routing, check_router_loss, routers_seen, routing, whole_routing
from sftkey_train.loss.schedule import learning_rate, step_weights
from sftkey_train.loss.shortcuts import check_shortcuts
from sftkey_train.measure.flops import FlopCount
from sftkey_train.measure.generated_match import Prompts, generate_and_read, generate_if_possible
from sftkey_train.measure.gradient_share import gradient_norms, shares
from sftkey_train.measure.heldout import measure_heldout
from sftkey_train.measure.loss_tally import LossTally
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.measure.step_row import step_row
from sftkey_train.measure.stopping import Measurements
from sftkey_train.measure.unread_steps import Pace, StepFigures, UnreadSteps
from sftkey_train.model.gradient_sums import gradient_sums
from sftkey_train.model.model import recomputes_activations
from sftkey_train.model.optimizer import build_optimizer, clip_gradients, set_learning_rate, step_if
from sftkey_train.model.sharding import is_sharded, keep_pace
from sftkey_train.recipe import Stage
from sftkey_train.signals import StopSignals

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRun:
    """What one stage trains on, measures, and writes to."""

    stage: Stage
    order: ExampleOrder
    examples: Examples
    later: Sequence[tuple[Stage, Examples]]  # the stages behind it, and what they train on
    heldout: list[Batch] | None  # this rank's share of the held-out set
    prompts: Prompts | None  # to generate from
    measurements: Measurements  # so far
    keep_best: Callable[["PreTrainedModel", int], None]
    flop_count: FlopCount
    peak_flops: float | None  # FLOP/s of one device
    folder: StageFolder
    metrics: MetricsLog
    precision: Literal["fp32", "bf16"]
    seed: int
    pad_token_id: int
    logit_bytes: int  # what the logits held at once may take; 0: see `logit_budget`
    signals: StopSignals
    reduce_once: bool  # with FSDP, see `gradient_sums`
    router_coefficient: float  # of a mixture of experts, as its configuration says; 0: it has no such loss
    reference: "PreTrainedModel | None"  # frozen, with the weights the stage started from; for a stage with an anchor


def train_stage(run: StageRun, model: "PreTrainedModel") -> None:
    """Train `model` in place to the end of one stage, from its latest checkpoint where it has one.

    Raises:
        SFTKeyError: The loss or the gradient norm is not finite; the weights are those before that step.
        KeyboardInterrupt: A signal asked for an end; the step that it came in is saved.
    """
    stage, num_steps, device = run.stage, run.order.num_steps, model.device
    optimizer = build_optimizer(model, stage)
    done = _begin(run, model, optimizer)  # restores the random generators, which the checks below leave alone
    packed = packs(model, stage, run.examples, run.precision)
    _check_shortcuts(run, model, packed=packed, begun=bool(done))
    model.train()
    last, unread, pace, steps = done, UnreadSteps(stage.name, device), Pace(), range(done + 1, num_steps + 1)
    with (
        run.signals.held(),
        made_ahead(_collating(run, device, packed=packed), steps, device) as collated,
        gradient_sums(model, once=run.reduce_once) as sums,
        progress(stage.name, num_steps, shown=ranks.is_main()) as bar,
    ):
        bar.update(bar.task_ids[0], completed=done)
        for step in steps:
            # Asked before a step, not after one: a resumed stage then stops where an uninterrupted one does.
            if run.measurements.says_stop(stage.early_stopping):
                break
            started, tally, last = time.perf_counter(), LossTally(device), step
            batches = weighted_batches(next(collated), stage, step, num_steps)
            if stage.gradient_share_every and step % stage.gradient_share_every == 0:
                unread.read()
                started += _log_gradient_shares(run, step, model, batches)  # not the step's own time
            whole = _whole_routing(run, model, batches, step)
            keep_pace(model, len(batches), run.reference, once=run.reduce_once)
            sums.expect(len(batches))
            with casts_kept(model):
                for batch in (batch.to(device) for batch in batches):
                    costs, router = _costs(run, model, batch, whole, step)
                    share = batch_loss(costs, batch, stage) + run.router_coefficient * router
                    sums.backward(share)  # gradients of the micro-batches add up to those of the whole batch
                    tally.add(batch, costs, share, router)
            sums.finish()  # before clipping, which is by the norm of the global batch
            tally.sum_over_ranks()
            unread.add(step, tally, clip_gradients(model, stage.max_grad_norm))

            rate = learning_rate(stage, step, num_steps)
            set_learning_rate(optimizer, rate)
            step_if(unread.all_finite, optimizer)
            optimizer.zero_grad(set_to_none=True)

            # Only here the host waits for the device; before anything is made of weights that may be of no use.
            figures = unread.read() if _is_looked_at(run, step) else None
            pace.add(batches, _flops(run, batches), time.perf_counter() - started)
            bar.update(bar.task_ids[0], completed=step)
            if figures is not None and _is_due(step, stage.log_every, num_steps):
                speed, pace = pace.speed(run.peak_flops), Pace()
                bar.update(bar.task_ids[0], description=_headline(stage.name, figures.loss.loss, speed))
                _log(run, step, figures, rate, speed)
            _measure_if_due(run, step, model)
            # After the measurements: a resumed stage goes on behind this step and would not make them up.
            asked = ranks.greatest(int(run.signals.asked)) > 0  # all stop after the same step
            if asked or _is_saved(stage, step):
                unread.read()
                save_checkpoint(run.folder, step, model, optimizer, stage.keep_last)
            if asked:
                raise KeyboardInterrupt
    try:
        _generate_at_end(run, last, model)
    except KeyboardInterrupt:
        # Alone only: other ranks may not have been told, and all of them are needed to save.
        if ranks.num_ranks() == 1 and run.folder.latest_step != last:
            save_checkpoint(run.folder, last, model, optimizer, stage.keep_last)
        raise


def _begin(run: StageRun, model: "PreTrainedModel", optimizer: torch.optim.Optimizer) -> int:
    """The step after which the stage goes on, with optimizer and random generators as they were then."""
    if (checkpoint := run.folder.latest) is not None:
        return restore_checkpoint(checkpoint, optimizer)
    torch.manual_seed(run.seed + ranks.rank())  # dropout differs between ranks
    _measure_if_due(run, 0, model)
    return 0


def _check_shortcuts(run: StageRun, model: "PreTrainedModel", *, packed: bool, begun: bool) -> None:
    if run.router_coefficient:
        check_router_loss(model, run.examples, run.pad_token_id, run.precision)
    check_shortcuts(model, run.stage, run.examples, run.pad_token_id, packed=packed, precision=run.precision)
    for later, data in () if begun else run.later:  # refused now, and not when this stage has taken its hours
        check_shortcuts(model, later, data, run.pad_token_id, precision=run.precision)


def _collating(run: StageRun, device: torch.device, *, packed: bool) -> Callable[[int], list[Batch]]:
    """A function from a step to this rank's batches, but for their weights."""
    how = {"packed": packed, "whole": run.router_coefficient > 0}

    def collated(step: int) -> list[Batch]:
        examples = [run.examples[i] for i in ranks.share(run.order.batch(step))]
        batches = collated_batches(run.stage, examples, run.order, run.pad_token_id, **how)
        return [batch.pinned_for(device) for batch in batches]

    return collated


def _costs(
    run: StageRun, model: "PreTrainedModel", batch: Batch, whole: Routing | None, step: int
) -> tuple[torch.Tensor, torch.Tensor | float]:
    """What each token costs, and what the pass adds to the router loss of the step."""
    stage = run.stage
    how = {"context_gradient": stage.context_gradient, "prune_last_layer": stage.prune_last_layer}
    how |= {"only_weighted": stage.token_loss == "nll"}
    with (
        _precision(run, model.device),
        _noise(run, model, batch, step),
        routers_seen(model, when=run.router_coefficient > 0) as seen,
    ):
        costs = token_costs(model, batch, run.reference, **how, logit_bytes=run.logit_bytes)
        if not seen:
            return costs, 0.0
        own = routing(model, batch, seen[0])
        return costs, own.share_of(whole or own)


def _noise(run: StageRun, model: "PreTrainedModel", batch: Batch, step: int) -> AbstractContextManager[None]:
    return noisy_embeddings(model, batch, run.stage.neftune_alpha, run.seed, step)


def _whole_routing(run: StageRun, model: "PreTrainedModel", batches: list[Batch], step: int) -> Routing | None:
    if not run.router_coefficient:
        return None
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices), _precision(run, model.device):
        return whole_routing(model, batches, lambda batch: _noise(run, model, batch, step))


def _precision(run: StageRun, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16")


def casts_kept(model: "PreTrainedModel") -> AbstractContextManager[None]:
    """While open, autocast casts a weight once, and not in each forward pass anew; outside of these it stays off.

    The copies take no more memory, as backward passes need them anyway. Where these recompute activations, or gather
    weights anew, they do not: there nothing is kept.
    """
    if recomputes_activations(model) or is_sharded(model):
        return nullcontext()
    return torch.autocast(model.device.type, enabled=False)  # what is cast is dropped where the outermost ends


def _is_due(step: int, every: int, num_steps: int) -> bool:
    return step == num_steps or (every > 0 and step % every == 0)


def _is_saved(stage: Stage, step: int) -> bool:
    return stage.save_every > 0 and step % stage.save_every == 0


def _is_looked_at(run: StageRun, step: int) -> bool:
    """Whether figures or weights of this step are logged, measured or saved."""
    stage, num_steps = run.stage, run.order.num_steps
    logged = _is_due(step, stage.log_every, num_steps)
    return logged or _is_saved(stage, step) or _heldout_is_due(run, step) or _generation_is_due(run, step)


def _heldout_is_due(run: StageRun, step: int) -> bool:
    """Also at the start."""
    return run.heldout is not None and (step == 0 or _is_due(step, run.stage.eval_every, run.order.num_steps))


def _generation_is_due(run: StageRun, step: int) -> bool:
    return run.prompts is not None and run.stage.generate_every > 0 and step % run.stage.generate_every == 0


def _flops(run: StageRun, batches: list[Batch]) -> float:
    """This rank's operations of one step."""
    stage = run.stage
    return run.flop_count.of(batches, context_gradient=stage.context_gradient, has_reference=stage.anchor > 0)


def _headline(name: str, loss: float, speed: dict[str, float]) -> str:
    mfu = f"  MFU {speed['mfu']:.1%}" if "mfu" in speed else ""
    return f"{name}  loss {loss:.4f}  {speed['tokens_per_second']:,.0f} tokens/s{mfu}"


def _log(run: StageRun, step: int, figures: StepFigures, rate: float, speed: dict[str, float]) -> None:
    weights = step_weights(run.stage, step, run.order.num_steps)
    run.metrics.append(step_row(run.stage, step, figures, rate, speed, weights, run.router_coefficient))


def _log_gradient_shares(run: StageRun, step: int, model: "PreTrainedModel", batches: list[Batch]) -> float:
    """Measure and log the norms; returns how many seconds that took."""
    started = time.perf_counter()

    def loss(batch: Batch) -> torch.Tensor:
        costs, _ = _costs(run, model, batch, None, step)  # the router loss is of no region
        return batch_loss(costs, batch, run.stage)

    norms = gradient_norms(model, batches, loss)
    row = {"kind": "gradient", "stage": run.stage.name, "step": step}
    run.metrics.append(row | {"gradient_norm_by_region": norms, "gradient_share_by_region": shares(norms)})
    return time.perf_counter() - started


def _measure_if_due(run: StageRun, step: int, model: "PreTrainedModel") -> None:
    """What is measured on held-out examples, at the start, at the end, and every so often."""
    if run.heldout is not None and _heldout_is_due(run, step):
        with _precision(run, model.device):
            _record(run, "heldout", step, model, measure_heldout(model, run.heldout, run.logit_bytes))
    if run.prompts is not None and _generation_is_due(run, step):
        with _precision(run, model.device):
            _record(run, "generated", step, model, generate_and_read(model, run.prompts))


def _generate_at_end(run: StageRun, step: int, model: "PreTrainedModel") -> None:
    """Once for the last weights, whatever the stage ended by, and also where it was interrupted before this."""
    if run.prompts is None or not run.stage.generate_at_end or run.measurements.holds("generated", step):
        return
    num = len(ranks.share(run.prompts.input_ids))
    with progress(f"{run.stage.name}: generating", num, shown=ranks.is_main()) as bar, _precision(run, model.device):
        measured = generate_if_possible(model, run.prompts, lambda n: bar.advance(bar.task_ids[0], n))
    if "reason" in measured:
        run.metrics.append({"kind": "not_generated", "stage": run.stage.name, "step": step, **measured})
    else:
        _record(run, "generated", step, model, measured)


def _record(run: StageRun, kind: str, step: int, model: "PreTrainedModel", measured: dict[str, Any]) -> None:
    row = {"kind": kind, "stage": run.stage.name, "step": step, **measured}
    run.measurements.add(row)
    if run.stage.best is not None and run.measurements.last_is_best(run.stage.best):
        run.keep_best(model, step)
    run.metrics.append(row)  # last: what has a row is not measured again, so all that follows of it is there
