"""A whole run: all stages of a recipe in order, each from where an earlier invocation left it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from sftkey_data.console import say
from sftkey_data.storage.sealed_json import write_sealed
from sftkey_train import ranks
from sftkey_train.checkpoint.checkpoint import StageFolder
from sftkey_train.checkpoint.earlier_run import (
    METRICS,
    PLOT,
    RUN,
    USED,
    delete_run,
    own_run,
    refuse_other_run,
    stopping,
)
from sftkey_train.checkpoint.stage_outputs import Outputs, finish_stage, keep_best
from sftkey_train.checkpoint.stage_start import check_handed_on, check_start, first_model, starting_model
from sftkey_train.dry_run import StagePlan, describe
from sftkey_train.loop import StageRun, train_stage
from sftkey_train.loss.comparison import let_go
from sftkey_train.loss.router_loss import router_coefficient
from sftkey_train.measure.flops import flop_count, peak_flops
from sftkey_train.measure.heldout import heldout_batches
from sftkey_train.measure.loss_plot import plot_loss
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.measure.stage_summary import closing_line, stage_summary
from sftkey_train.measure.stage_trackers import StageTrackers
from sftkey_train.measure.stopping import Measurements
from sftkey_train.model.deterministic_kernels import deterministic_kernels, missing_kernels_named
from sftkey_train.model.model import check_causal, compile_layers, recompute_activations
from sftkey_train.model.sharding import gathers_in_half, is_sharded, shard
from sftkey_train.open_run import OpenRun, is_in_shares, open_run, prompts_of
from sftkey_train.recipe import Recipe, Stage
from sftkey_train.signals import StopSignals

if TYPE_CHECKING:
    from rich.text import Text


def run_recipe(recipe: Recipe, *, overwrite: bool = False, says_end: bool = True) -> Iterator[dict[str, Any]]:
    """Run all stages that are not finished, and give one summary per stage as it ends.

    Several processes that torchrun has started divide each batch. The first one writes the files, on a disk that all
    of them see, and gives the summaries.

    Args:
        recipe: What to run; its `out` is made, or holds an earlier invocation of the same recipe.
        overwrite: Delete an earlier run in `out` and start anew.
        says_end: A line at the terminal when a stage ends; not for one who generates afterwards.

    Raises:
        SFTKeyError: Before the first step where anything does not fit: data, tokenizer, model, an earlier run; in it,
            an operation without a deterministic kernel where these are asked for.
        Stopped: SIGINT or SIGTERM came; says what is kept.
    """
    _quiet(recipe)
    device = ranks.own_device(recipe.device)
    with (
        deterministic_kernels(device, when=recipe.deterministic),  # before the processes join, as that starts CUDA
        ranks.process_group(cuda=device.type == "cuda"),
        missing_kernels_named(),
        stopping(recipe, overwrite=overwrite) as signals,
        ExitStack() as held,
    ):
        run = open_run(recipe)
        held.enter_context(own_run(recipe.out))
        refuse_other_run(recipe.out, run.record(), run.folders(), overwrite=overwrite)
        check_handed_on([] if overwrite else run.starts())
        ranks.wait()  # all ranks have looked at the folder before the first deletes it
        if overwrite and ranks.is_main():
            delete_run(recipe.out)
        ranks.wait()  # it is gone before any looks for a checkpoint in it
        with closing(StageTrackers(recipe if ranks.is_main() else None, run.steps_before())) as trackers:
            unfinished = [stage for stage in recipe.stages if not run.folder(stage).finished]
            for stage in recipe.stages:
                if stage in unfinished:
                    if stage is not unfinished[0]:  # what that one starts from was read a moment ago
                        check_start(run.start(stage))
                    _run_stage(run, stage, trackers, signals)
                    if says_end and ranks.is_main():
                        say(closing_line(stage, _summary(run, stage), _why_not_generated(run, stage)))
                    ranks.wait()
                if ranks.is_main():
                    yield _summary(run, stage)


def dry_run(recipe: Recipe, *, overwrite: bool = False) -> "Iterator[Text]":
    """What `run_recipe` would do, as lines to print; nothing is trained or written.

    Raises:
        SFTKeyError: What `run_recipe` would refuse; an earlier run in `out` is no fault where `overwrite` is given.
    """
    _quiet(recipe)
    run = open_run(recipe)
    if not overwrite:
        refuse_other_run(recipe.out, run.record(), run.folders(), overwrite=False)
        check_handed_on(run.starts())
    parents = {s.name: run.recipe.parent(s) for s in recipe.stages}
    starts = {s: "the model" if p is None else p.name for s, p in parents.items()}
    starts |= {s.name: f"{starts[s.name]}, its best" for s in recipe.stages if s.init_weights == "best"}
    plans = [StagePlan(s, run.data_of(s), run.order(s), starts[s.name], prompts_of(run, s)) for s in recipe.stages]
    return describe(recipe, run.data, run.heldout, run.config, plans)


def _quiet(recipe: Recipe) -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)


def _run_stage(run: OpenRun, stage: Stage, trackers: StageTrackers, signals: StopSignals) -> None:
    folder, recipe, device = run.folder(stage), run.recipe, ranks.own_device(run.recipe.device)
    model = starting_model(start := run.start(stage))
    reference = first_model(start) if stage.anchor else None
    whole = [m for m in (model, reference) if m is not None and not is_sharded(m)]
    for one in whole:
        one.to(device)  # type: ignore[arg-type]  # transformers' decorator hides self
    check_causal(model)
    let_go(model)  # before an optimizer asks for its parameters
    if recipe.gradient_checkpointing:
        recompute_activations(model)
    if recipe.compile:
        compile_layers(model)
    for one in whole if is_in_shares(recipe) else ():
        shard(one, half=gathers_in_half(recipe.precision, recipe.lora))
    if ranks.is_main():
        _prepare_out(run, stage)
        trackers.start()  # after it, as some trackers write into the run's folder
    ranks.wait()
    pad_token_id = run.data.tokenizer.pad_token_id or 0  # any id would do: no real token attends to padding
    most = recipe.heldout_examples
    stage_run = StageRun(
        stage=stage,
        order=run.order(stage),
        examples=run.data_of(stage).examples,
        later=[(s, run.data_of(s).examples) for s in recipe.stages[recipe.stages.index(stage) + 1 :]],
        heldout=None if run.heldout is None else heldout_batches(run.heldout.examples.first(most), pad_token_id),
        prompts=prompts_of(run, stage),
        measurements=Measurements([row for row in run.metrics.rows() if row["stage"] == stage.name]),
        keep_best=lambda model, step: keep_best(_outputs(run, folder), model, step),
        flop_count=flop_count(model),
        peak_flops=peak_flops(recipe.peak_flops, device, recipe.precision),
        folder=folder,
        metrics=MetricsLog(recipe.out / METRICS, trackers.log),
        precision=recipe.precision,
        # Mixed and not added, so that seed 0 at depth 1 and seed 1 at depth 0 draw apart.
        seed=int(np.random.SeedSequence([recipe.seed, recipe.depth(stage)]).generate_state(1)[0]),
        pad_token_id=pad_token_id,
        logit_bytes=recipe.logits_mib * 2**20,
        signals=signals,
        reduce_once=recipe.reduce_once,
        router_coefficient=router_coefficient(run.config),
        reference=reference,
    )
    train_stage(stage_run, model)
    with signals.held():  # what is trained is written whole; the next stage, if any, stops after its first step
        if ranks.is_main():  # before the weights: once they are there, nobody would draw it again
            plot_loss(run.metrics.rows(), recipe, recipe.out / PLOT)
        finish_stage(_outputs(run, folder), model)


def _prepare_out(run: OpenRun, stage: Stage) -> None:
    """Record the run, and forget what the stage has measured since its latest checkpoint."""
    write_sealed(run.recipe.out / RUN, run.record() | {USED: {"attention": run.attention}})
    finished = [s.name for s in run.recipe.stages if run.folder(s).finished]
    run.metrics.rewind(finished, stage.name, run.folder(stage).latest_step)


def _why_not_generated(run: OpenRun, stage: Stage) -> str:
    """Why nothing was generated at the end of a stage, where nothing was."""
    if is_in_shares(run.recipe):
        return "as with fsdp each process holds a share of the weights"
    failed = [row for row in run.metrics.rows() if row["stage"] == stage.name and row["kind"] == "not_generated"]
    return f"as it failed ({failed[-1]['reason']})" if failed else "as generate_at_end is false"


def _outputs(run: OpenRun, folder: StageFolder) -> Outputs:
    return Outputs(folder, run.data.tokenizer, run.recipe.resolved())


def _summary(run: OpenRun, stage: Stage) -> dict[str, Any]:
    return stage_summary(run.metrics.rows(), run.folder(stage), stage)
