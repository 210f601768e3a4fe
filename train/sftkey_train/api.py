"""The Python interface of `sftkey_train`: `run`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sftkey_data.errors import SFTKeyError
from sftkey_data.interface.notebook import html_table
from sftkey_train.checkpoint.earlier_run import METRICS
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_file import recipe_of
from sftkey_train.recipe_run import run_recipe

__all__ = ["TrainedRun", "run"]


@dataclass(frozen=True, slots=True, repr=False)
class TrainedRun:
    """What a run has come to: its folder, and for each stage what `sftkey-train run` prints."""

    out: Path
    stages: tuple[Mapping[str, Any], ...]
    """Of each stage `stage`, `steps`, `loss`, `heldout`, `generated`, `final` and `best`; empty but in the first of
    several processes."""

    @property
    def final(self) -> Path:
        """The folder of the last stage's model, in Hugging Face's layout."""
        if not self.stages:
            raise SFTKeyError(f"{self.out}: only the first of several processes knows what the stages have come to")
        return Path(self.stages[-1]["final"])

    def metrics(self) -> pd.DataFrame:
        """The rows of `metrics.jsonl`: what was measured at each step; `kind` says what a row is."""
        return pd.DataFrame(MetricsLog(self.out / METRICS).rows())

    def __repr__(self) -> str:
        shown = ", ".join(f"{s['stage']} {s['steps']} steps loss {_number(s['loss'])}" for s in self.stages)
        return f"TrainedRun({str(self.out)!r}: {shown})"

    def _repr_html_(self) -> str:
        columns = ("stage", "steps", "loss", "forced_key_match", "format_valid", "key_exact_text", "final")
        flat = ({**(stage["heldout"] or {}), **(stage["generated"] or {}), **stage} for stage in self.stages)
        return html_table(str(self.out), columns, [[values.get(name) for name in columns] for values in flat])


def run(
    recipe: str | Path | Mapping[str, Any], settings: Mapping[str, Any] | None = None, *, overwrite: bool = False
) -> TrainedRun:
    """Run all stages of a recipe, as `sftkey-train run` does; the same call again resumes, and skips what is finished.

    Args:
        recipe: A recipe file, or its tables as a mapping.
        settings: Keys to change, as `{"stage.stage1.lr": 1e-4, "seed": 1}`.
        overwrite: Delete the run in `out` and start anew.

    Returns:
        The folder, and what each stage has come to.

    Raises:
        SFTKeyError: One line: before the first step where anything does not fit, after an interruption what is kept.

    Example:
        import sftkey_train

        few = {f"stage.{name}.steps": 2 for name in ("stage1", "answer_only", "continued", "key40")}
        trained = sftkey_train.run("train/recipes/demo.toml", {"out": "runs/api", **few})
        losses = trained.metrics().query("kind == 'train'").groupby("stage")["loss"].last()
        print(trained)
        print(losses)
    """
    loaded = recipe_of(recipe if isinstance(recipe, Mapping) else Path(recipe), settings or {})
    return TrainedRun(loaded.out, tuple(run_recipe(loaded, overwrite=overwrite)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
