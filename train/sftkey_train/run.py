"""A whole run: all stages of a recipe in order, each from where an earlier invocation left it."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches import Batch, Order
from sftkey_train.checkpoint import StageFolder, appearing, drop_checkpoints, write_file
from sftkey_train.heldout import heldout_batches
from sftkey_train.loop import StageRun, train_stage
from sftkey_train.metrics import MetricsLog
from sftkey_train.model import check_fit, check_tokenizer, initial_model, load_model, model_config
from sftkey_train.packing import check_budget
from sftkey_train.plots import plot_loss
from sftkey_train.prepared import Prepared, read_prepared
from sftkey_train.recipe import LOSS_ON, Recipe, Stage
from sftkey_train.schedule import num_stage_examples, num_warmup_steps

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

RUN, RECIPE, METRICS, PLOT = "run.json", "recipe.json", "metrics.jsonl", "loss.png"
PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class _Run:
    """A recipe with everything it names opened and checked."""

    recipe: Recipe
    data: Prepared
    heldout: Prepared | None
    config: "PreTrainedConfig"

    @property
    def metrics(self) -> MetricsLog:
        return MetricsLog(self.recipe.out / METRICS)

    def folder(self, stage: Stage) -> StageFolder:
        return StageFolder(self.recipe.out / stage.name)

    def order(self, stage: Stage) -> Order:
        num = len(self.data.examples)
        seen = num_stage_examples(stage, num)
        return Order(self.recipe.seed, self.recipe.depth(stage), num, stage.batch_size, seen)

    def record(self) -> dict[str, Any]:
        """What must not change between two invocations on one directory."""
        record = {"recipe": self.recipe.resolved(), "data_sha256": self.data.sha256}
        return record | {"heldout_sha256": self.heldout.sha256 if self.heldout else None}


def run_recipe(recipe: Recipe, *, overwrite: bool = False) -> Iterator[dict[str, Any]]:
    """Run all stages that are not finished, and give one summary per stage as it ends.

    Args:
        recipe: What to run; its `out` is made, or holds an earlier invocation of the same recipe.
        overwrite: Delete an earlier run in `out` and start anew.

    Raises:
        SFTKeyError: Before the first step where anything does not fit: data, tokenizer, model, an earlier run.
    """
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    run = _open(recipe)
    _refuse_other_run(run, overwrite=overwrite)
    for stage in recipe.stages:
        if not run.folder(stage).finished:
            _run_stage(run, stage)
            plot_loss(run.metrics.rows(), recipe, recipe.out / PLOT)
        yield _summary(run, stage)


def _open(recipe: Recipe) -> _Run:
    """Open what the recipe names and check that it fits together; nothing is written."""
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise SFTKeyError("device is 'cuda', but torch sees no GPU; expected 'auto' or 'cpu'")
    data = read_prepared(recipe.data)
    heldout = read_prepared(recipe.heldout) if recipe.heldout else None
    if heldout is not None and heldout.fingerprint != data.fingerprint:
        raise SFTKeyError(f"heldout {heldout.path} was made with another tokenizer than data {data.path}")
    run = _Run(recipe, data, heldout, model_config(recipe.model, data.tokenizer))
    check_tokenizer(recipe.model, data)
    for prepared in filter(None, (data, heldout)):
        check_fit(run.config, prepared)
        prepared.examples.check(LOSS_ON["completion"], str(prepared.path))
    for stage in recipe.stages:
        data.examples.check(stage.region_weights, f"stage {stage.name!r}")
        check_budget(stage, data.examples)
        num_warmup_steps(stage, run.order(stage).num_steps)
    return run


def _refuse_other_run(run: _Run, *, overwrite: bool) -> None:
    """Check `out` against the recipe; with `overwrite`, delete the run that lies there."""
    out = run.recipe.out
    found = [path for path in out.iterdir() if path.suffix != PARTIAL] if out.is_dir() else []
    if out.exists() and not out.is_dir():
        raise SFTKeyError(f"out {out} is a file, expected a directory")
    if not found:
        return
    if not (out / RUN).exists():
        raise SFTKeyError(f"out {out} is not empty and holds no earlier run ({RUN}), found {sorted(found)[0].name}")
    earlier = json.loads((out / RUN).read_text(encoding="utf-8"))
    if overwrite:
        _delete(out, [stage["name"] for stage in earlier["recipe"]["stage"]])
    elif (difference := first_difference(earlier, run.record())) is not None:
        raise SFTKeyError(f"out {out} holds a run of another recipe: {difference}; --overwrite starts anew")


def first_difference(earlier: Any, now: Any, place: str = "") -> str | None:
    """Where two JSON values first differ, as `recipe.stage.0.lr was 0.1, now 0.2`; the `out` itself may move."""
    if place == "recipe.out" or earlier == now:
        return None
    if isinstance(earlier, list) and isinstance(now, list):
        earlier, now = dict(enumerate(earlier)), dict(enumerate(now))
    if not (isinstance(earlier, Mapping) and isinstance(now, Mapping)):
        return f"{place} was {json.dumps(earlier)}, now {json.dumps(now)}"
    for key in [*now, *(key for key in earlier if key not in now)]:
        below = f"{place}.{key}".lstrip(".")
        if (difference := first_difference(earlier.get(key), now.get(key), below)) is not None:
            return difference
    return None


def _delete(out: Path, stages: list[str]) -> None:
    """Delete the files of a run and nothing else; the record goes last, so that a killed deletion can be repeated."""
    for name in stages:
        shutil.rmtree(out / name, ignore_errors=True)
    for name in (METRICS, PLOT, RUN):
        (out / name).unlink(missing_ok=True)


def _run_stage(run: _Run, stage: Stage) -> None:
    folder, recipe = run.folder(stage), run.recipe
    model = _starting_model(run, stage)
    model.to(_device(recipe))  # type: ignore[arg-type]  # transformers' decorator hides self
    recipe.out.mkdir(parents=True, exist_ok=True)
    write_file(recipe.out / RUN, _json(run.record()))
    finished = [s.name for s in recipe.stages if run.folder(s).finished]
    run.metrics.rewind(finished, stage.name, folder.latest_step)
    pad_token_id = run.data.tokenizer.pad_token_id or 0
    stage_run = StageRun(
        stage=stage,
        order=run.order(stage),
        examples=run.data.examples,
        heldout=_heldout_batches(run, pad_token_id),
        folder=folder,
        metrics=run.metrics,
        precision=recipe.precision,
        seed=int(np.random.SeedSequence([recipe.seed, recipe.depth(stage)]).generate_state(1)[0]),
        pad_token_id=pad_token_id,
    )
    train_stage(stage_run, model)
    _finish(run, folder, model)


def _heldout_batches(run: _Run, pad_token_id: int) -> list[Batch]:
    examples = run.heldout.examples.first(run.recipe.heldout_examples) if run.heldout else []
    return heldout_batches(examples, pad_token_id)


def _starting_model(run: _Run, stage: Stage) -> "PreTrainedModel":
    """From the stage's checkpoint, else from its parent's final weights, else from the model of the recipe."""
    if (checkpoint := run.folder(stage).latest) is not None:
        return load_model(checkpoint)
    if (parent := run.recipe.parent(stage)) is not None:
        return load_model(run.folder(parent).final)
    return initial_model(run.recipe.model, run.config, run.recipe.seed)


def _device(recipe: Recipe) -> torch.device:
    if recipe.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(recipe.device)


def _finish(run: _Run, folder: StageFolder, model: "PreTrainedModel") -> None:
    """Write the stage's result, loadable by itself, then drop what was only needed to resume."""
    if model.generation_config is not None:
        model.generation_config.eos_token_id = run.data.tokenizer.eos_token_id  # what the completions end with
    with appearing(folder.final) as partial:
        model.save_pretrained(partial)
        run.data.tokenizer.save_pretrained(str(partial))
        (partial / RECIPE).write_text(_json(run.recipe.resolved()), encoding="utf-8")
    drop_checkpoints(folder)


def _summary(run: _Run, stage: Stage) -> dict[str, Any]:
    rows = [row for row in run.metrics.rows() if row["stage"] == stage.name]
    trained = [row for row in rows if row["kind"] == "train"]
    measured = [row for row in rows if row["kind"] == "heldout"]
    return {
        "stage": stage.name,
        "steps": run.order(stage).num_steps,
        "loss": trained[-1]["loss"] if trained else None,
        "heldout": {k: measured[-1][k] for k in ("loss_by_region", "key_exact_match")} if measured else None,
        "final": str(run.folder(stage).final),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
