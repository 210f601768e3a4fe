"""Our evaluation sets as tasks of lm-eval's own command; the YAML files in `tasks/` name the functions here.

Prompts, golds and rejects are those of `sftkey-data build`, verdicts those of `sftkey-eval score`. What differs is what
lm-eval does to a completion: it drops special tokens when decoding, and it keeps no finish reason, so that a completion
that hit the token limit is counted under what it lacks instead of `truncated`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.plan import make_plan
from sftkey_data.building.preview import preview
from sftkey_data.building.work import BATCH_ROWS
from sftkey_data.config import validate
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.format.template import Template, load_template
from sftkey_data.registry import builtin_names, load_dataset
from sftkey_eval.records.completion_rows import Completion
from sftkey_eval.scoring.score import DEFAULT_TEMPLATE, score_completion

if TYPE_CHECKING:
    import datasets

FOLDER = Path(__file__).parent
TASK_PREFIX = "sftkey_"
SPLIT = "items"
"""The one split that lm-eval sees; which split of the source it is, the task's file says."""

log = logging.getLogger("lm_eval.sftkey")  # below lm-eval's own logger, whose handler shows it


class Settings(BaseModel):
    """What `--metadata '{"sftkey": {…}}'` may say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str = Field(DEFAULT_TEMPLATE, description="Name or .toml file of the format that is expected.")
    chat: bool = Field(
        False, description="Beside --apply_chat_template: the question alone, as `build --chat` asks it."
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, description="File, folder, URL or hub id by dataset; else the dataset's own."
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Options by dataset, as `sftkey-data build --set` takes them."
    )


@dataclass(frozen=True, slots=True)
class EvaluationTask:
    """One task as its file says."""

    name: str
    dataset: str
    split: str

    @property
    def source(self) -> str:
        """Where the items come from when no input is named."""
        return load_dataset(self.dataset).default_input or "generated"


def all_tasks() -> list[EvaluationTask]:
    """All tasks, by name."""
    files = sorted(FOLDER.glob(f"{TASK_PREFIX}*.yaml"))
    facts = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in files]
    return [EvaluationTask(fact["task"], **fact["dataset_kwargs"]) for fact in facts]


def load_items(
    dataset: str, split: str, sftkey: Mapping[str, Any] | None = None, **_: Any
) -> "dict[str, datasets.Dataset]":
    """The items of a task: what `sftkey-data build` would write, and the template by which they are scored.

    Args:
        dataset: Name of the built-in dataset.
        split: Split of its source.
        sftkey: See `Settings`. Whatever else lm-eval hands on from `--metadata` and `--model_args` is not ours.

    Returns:
        The split `items`, with columns `id, dataset, split, prompt, gold, answer_type, choices, template`. Rows that
        the build would reject are counted in a warning.

    Raises:
        SFTKeyError: An unknown setting, dataset or template, an input that cannot be read, or no usable row.
    """
    import datasets  # here, as `sftkey-eval tasks` lists the tasks without their items
    import pyarrow as pa

    settings = validate(sftkey or {}, Settings, where="metadata sftkey")
    for name in (*settings.inputs, *settings.options):
        if name not in builtin_names():
            raise SFTKeyError(f"metadata sftkey: unknown dataset {name!r}{nearest(name, builtin_names())}")
    inputs = (settings.inputs[dataset],) if dataset in settings.inputs else ()
    plan = make_plan(
        BuildConfig(
            source=dataset,
            inputs=inputs,
            split=split,
            template=settings.template,
            options=settings.options.get(dataset, {}),
        )
    )
    units = list(preview(plan, at_a_time=BATCH_ROWS))
    table = pa.concat_tables(unit.table for unit in units)
    _tell(dataset, split, table.num_rows, [reject for unit in units for reject in unit.rejects])
    table = table.select(["id", "dataset", "split", "prompt", "gold", "answer_type", "choices"])
    template = pa.repeat(settings.template, table.num_rows)
    items = datasets.Dataset(table.append_column("template", template))
    # a plain prompt ends in a line break, which a chat template would leave in the user's turn
    return {SPLIT: items.map(lambda row: {"prompt": row["prompt"][:-1]}) if settings.chat else items}


def _tell(dataset: str, split: str, num_items: int, rejects: Sequence[Mapping[str, Any]]) -> None:
    """Say which rows are no items; lm-eval's rates are over the items."""
    if not rejects:
        return
    reasons = sorted({reject["reason"] for reject in rejects})
    counts = ", ".join(f"{reason} {sum(reject['reason'] == reason for reject in rejects)}" for reason in reasons)
    first = rejects[0]
    found = (
        f"{dataset} ({split}): {len(rejects)} of {num_items + len(rejects)} rows rejected ({counts}; "
        f"the first: {first['source']}:{first['position']}: {first['detail']})"
    )
    if num_items == 0:
        raise SFTKeyError(f"{found}: nothing to evaluate")
    log.warning("%s: they are in no rate", found)


def prompt(doc: Mapping[str, Any]) -> str:
    """What the model is prompted with, as in prepared data."""
    return str(doc["prompt"])


def gold(doc: Mapping[str, Any]) -> str:
    """The trusted answer."""
    return str(doc["gold"])


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """The metrics of one completion, each 0 or 1, as `sftkey-eval score` decides them.

    Args:
        doc: A row of `load_items`.
        results: lm-eval's one completion of it.

    Returns:
        By the names in the tasks' files, which lm-eval averages over the items.
    """
    verdict = score_completion(_completion(doc, results[0]), _template(doc["template"]))
    return {
        "format_valid": float(verdict.format_valid),
        "accuracy": float(verdict.correct),
        "lenient_accuracy": float(verdict.lenient_correct),
        "format_tolerant": float(verdict.format_tolerant),
        "slip": float(verdict.error_class == "slip"),
        "undecided": float(verdict.verdict == "undecided"),
    }


def _completion(doc: Mapping[str, Any], text: str) -> Completion:
    choices = doc["choices"]
    return Completion(
        id=doc["id"],
        item_id=doc["id"],
        sample=0,
        dataset=doc["dataset"],
        split=doc["split"],
        prompt=doc["prompt"],
        completion=text,
        gold=doc["gold"],
        answer_type=doc["answer_type"],
        choices=None if choices is None else tuple(choices),
        finish_reason=None,
    )


@lru_cache(maxsize=8)
def _template(name: str) -> Template:
    return load_template(name)
