"""One run from wherever it was left to its result: trained, generated for, scored, and said in one file."""

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.appearing import make_folder
from sftkey_data.storage.sealed_json import read_sealed, write_sealed
from sftkey_train.checkpoint.checkpoint import StageFolder, drop_weights
from sftkey_train.checkpoint.earlier_run import METRICS, OtherRunError
from sftkey_train.checkpoint.origin import Origin, model_hash, read_origin, written_files
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe_run import run_recipe
from sftkey_train.study.generated_scores import Scores, load_writer, write_and_score
from sftkey_train.study.named_arms import STAGE1
from sftkey_train.study.own_words import make_own_examples
from sftkey_train.study.run_cost import logged_cost
from sftkey_train.study.study_file import EvaluationTable, Part
from sftkey_train.study.study_plan import PlannedRun

RESULT, MISSING = "result.json", "missing.json"
Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Missing:
    """A run that has nothing to train on, and why."""

    dataset: str
    seed: int
    role: str
    arm: str
    key: str
    why: str


def read_missing(run: PlannedRun) -> Missing | None:
    """Why a run will have no result; None where it has one, or may come to one."""
    path = run.folder / MISSING
    try:
        return Missing(**read_sealed(path, ""))
    except FileNotFoundError:
        return None
    except (SFTKeyError, TypeError):
        raise SFTKeyError(f"{path} is not as it was written; delete {run.folder} to run it again") from None


def read_result(run: PlannedRun) -> Result | None:
    """What a finished run has come to; None where it is not finished.

    Raises:
        SFTKeyError: The file, or the completions that it names, are not as they were written.
    """
    path = run.folder / RESULT
    try:
        result: Result = read_sealed(path, "")
        names = [(scores["completions"], scores["sha256"]) for scores in result["scores"].values()]
        damaged = next((name for name, sha256 in names if _sha256(run.folder / name) != sha256), None)
        of_items = all("items" in scores for scores in result["scores"].values())
        damaged = RESULT if result["key"] != run.key or not of_items else damaged
    except FileNotFoundError as error:
        if not path.exists():
            return None
        damaged = Path(str(error.filename)).name
    except (SFTKeyError, ValueError, KeyError, TypeError, AttributeError):
        damaged = RESULT
    if damaged is not None:
        raise SFTKeyError(f"{run.folder / damaged} is not as it was written; delete {run.folder} to run it again")
    return result


def finish_run(run: PlannedRun, evaluation: EvaluationTable, *, keep_model: bool) -> Result | Missing:
    """Take a run to its end and give its result; the file appears last, so that a killed run goes on.

    A run on the model's own words of which none is left has no result, but says why.

    Args:
        run: Which; the run that it starts from is finished.
        evaluation: How it is asked.
        keep_model: False: its weights are deleted after it.

    Raises:
        SFTKeyError: What training or generation refuses, or what was written is damaged.
    """
    if (result := read_result(run)) is not None:
        tidy_run(run, keep_model=keep_model)
        return result
    make_folder(run.folder)
    started, own = time.perf_counter(), {}
    if run.own is not None:
        examples = make_own_examples(run, run.own)
        if isinstance(examples, str):
            missing = Missing(run.dataset.name, run.seed, run.role, run.arm.name, run.key, examples)
            write_sealed(run.folder / MISSING, asdict(missing))
            return missing
        own = {"own": examples}
    log = MetricsLog(run.recipe.out / METRICS)
    in_one_go = not log.path.exists()
    try:
        for _ in run_recipe(run.recipe, says_end=False):  # what it writes comes next, for whole sets
            pass
    except OtherRunError as other:  # the study or its files were renamed, or moved, while it was trained
        begun = f"{run.folder} was begun under another name or path: {other.difference}"
        raise SFTKeyError(f"{begun}; delete the folder to begin it again, or put that back to go on") from None
    scores = _scores(run, evaluation)
    rows = log.rows()
    wall = time.perf_counter() - started
    seconds = _seconds(rows, scores, wall if in_one_go else None)
    result = _facts(run) | own | asdict(logged_cost(rows)) | {"heldout": _heldout(rows), "seconds": seconds}
    result["scores"] = {
        part: {**found.counts, "new_tokens": found.num_tokens, "completions": _file(part), "sha256": found.sha256}
        for part, found in scores.items()
    }
    write_sealed(run.folder / RESULT, result)
    tidy_run(run, keep_model=keep_model)
    return result


def tidy_run(run: PlannedRun, *, keep_model: bool) -> None:
    """Delete what a finished run needs no more: checkpoints, and where no model is kept, its weights.

    After `result.json`, so a kill in between leaves some of it; then the study's next start does it. What stays must be
    as it was written.

    Args:
        run: Which; it is finished.
        keep_model: False: its weights go too; those of stage 1 stay, as arms start from it.

    Raises:
        SFTKeyError: A file of its weights is damaged.
    """
    stage = StageFolder(run.final.parent, Origin("", run.arm.name))
    drop_weights(stage, keep=[run.final] if keep_model or run.arm.name == STAGE1 else [])
    if run.final.is_dir():
        written_files(run.final, f"delete {run.folder} to run it again")


def _scores(run: PlannedRun, evaluation: EvaluationTable) -> dict[Part, Scores]:
    limits: dict[Part, int] = {"validation": evaluation.validation_examples, "test": evaluation.test_examples}
    model_hash(run.final)  # it may lie there since a stop: refused where it is not as it was written
    writer = load_writer(run.final, run.recipe.device)
    return {
        part: write_and_score(
            writer,
            run.dataset.folders[part],
            run.folder / _file(part),
            batch_size=evaluation.batch_size,
            max_new_tokens=evaluation.max_new_tokens,
            limit=limits[part],
            label=run.label,
        )
        for part in run.scored
    }


def _file(part: Part) -> str:
    return f"{part}.jsonl.gz"


def _seconds(rows: list[Any], scores: dict[Part, Scores], wall: float | None) -> dict[str, float | None]:
    """Training is the steps alone; what else a run does is `other`, known only of one that was never interrupted."""
    named = {
        "training": sum(row["seconds"] for row in rows if row["kind"] == "train"),
        "generation": sum(found.generation_seconds for found in scores.values()),
        "scoring": sum(found.scoring_seconds for found in scores.values()),
    }
    return named | {"other": None if wall is None else wall - sum(named.values())}


def _facts(run: PlannedRun) -> Result:
    """Which run it is, and the hashes of what went into it and of the weights that came out."""
    return {
        "dataset": run.dataset.name,
        "seed": run.seed,
        "role": run.role,
        "arm": run.arm.name,
        "key": run.key,
        "inputs": {
            "data": {part: run.dataset.digests[part] for part in ("train", *run.scored)},
            "start": None if run.parent is None else {"key": run.parent.key, "weights": _weights(run.parent)},
        },
        "weights": _weights(run),
    }


def _weights(run: PlannedRun) -> dict[str, str]:
    recorded = read_origin(run.final, f"delete {run.folder} to run it again")["files"]
    return {name: digest for name, digest in sorted(recorded.items()) if name.endswith(".safetensors")}


def _heldout(rows: list[Any]) -> list[dict[str, Any]]:
    """Given the gold CoT, at each step where it was measured: the Keys the model would write, the loss by region."""
    names = ("step", "forced_key_match", "loss_by_region", "examples")
    return [{name: row[name] for name in names} for row in rows if row["kind"] == "heldout"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
