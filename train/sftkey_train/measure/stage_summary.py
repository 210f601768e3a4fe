"""What a stage has come to: the JSON of stdout, and a line for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from sftkey_train.checkpoint.checkpoint import StageFolder
from sftkey_train.measure.generated_match import SOURCES
from sftkey_train.measure.metrics_log import MetricsRow
from sftkey_train.recipe import Stage

HELDOUT_FIGURES = ("loss_by_region", "forced_key_match")
ROUTER_FIGURES = ("router_loss", "router_coefficient")  # of a mixture of experts whose config asks for that loss
GENERATED_FIGURES = ("of", "examples", "format_valid", "key_exact_text", "step")


def stage_summary(rows: Sequence[MetricsRow], folder: StageFolder, stage: Stage) -> dict[str, Any]:
    """The last of each kind of row of a stage, and where its models are."""
    mine = [row for row in rows if row["stage"] == stage.name]
    trained, measured, generated = (
        [row for row in mine if row["kind"] == kind] for kind in ("train", "heldout", "generated")
    )
    summary: dict[str, Any] = {
        "stage": stage.name,
        "steps": max((row["step"] for row in trained), default=0),
        "loss": trained[-1]["loss"] if trained else None,
        "heldout": {name: measured[-1][name] for name in HELDOUT_FIGURES} if measured else None,
        "generated": {name: generated[-1][name] for name in GENERATED_FIGURES} if generated else None,
        "final": str(folder.final),
        "best": str(best) if (best := folder.best) else None,
    }
    return summary | {name: trained[-1][name] for name in ROUTER_FIGURES if trained and name in trained[-1]}


def closing_line(stage: Stage, summary: Mapping[str, Any], why_not: str) -> str:
    """What the model writes by itself, and beside it how often it has the Key where it is given the gold CoT.

    Args:
        stage: That has ended.
        summary: See `stage_summary`.
        why_not: Why nothing was generated, where that is so.
    """
    written, forced = summary["generated"], summary["heldout"]
    given = f"; given the gold CoT, {forced['forced_key_match']:.1%} of the Keys" if forced else ""
    if written:
        valid, right = f"{written['format_valid']:.1%}", f"{written['key_exact_text']:.1%}"
        examples = f"{written['examples']} {SOURCES[written['of']]} examples"
        return f"{stage.name}: generated for {examples}: {valid} in a valid format, {right} with the gold's Key{given}"
    return (
        f"{stage.name}: nothing generated, {why_not}{given}; for accuracy: sftkey-eval run --model {summary['final']}"
    )
