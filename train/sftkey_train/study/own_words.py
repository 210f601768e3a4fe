"""The model's own words: what stage 1 writes for its train set, sampled and scored, and the examples made of it."""

import json
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import NothingLeft, SFTKeyError
from sftkey_data.format.template import BUILTIN, Template
from sftkey_data.model_loading import load_config
from sftkey_data.prepared.manifest import MANIFEST, TOKENIZER_FOLDER, file_sha256, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.storage.appearing import make_folder, write_text
from sftkey_data.storage.sealed_json import read_sealed, write_sealed
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.generation.generate import generate
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.records.verdict_reader import read_verdicts
from sftkey_eval.scoring.score import score_file
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_train.checkpoint.origin import model_hash
from sftkey_train.loss.schedule import num_stage_examples
from sftkey_train.study.generated_scores import max_new_tokens_for
from sftkey_train.study.run_cost import written_flops
from sftkey_train.study.study_plan import OwnExamples, PlannedRun, PlannedSampling
from sftkey_train.study.study_sets import content_digest

COMPLETIONS, VERDICTS, SAMPLED = "completions.jsonl", "verdicts.parquet", "sampled.json"
_CARRIED_OVER = ("chat", "chat_args", "straddle", "special_tokens")
"""Options of the train set's build that its prompts depend on."""

Sampled = dict[str, Any]


def read_sampled(sampling: PlannedSampling) -> Sampled | None:
    """What a finished sampling has come to; None where it is not finished.

    Raises:
        SFTKeyError: The file, or the verdicts that it names, are not as they were written.
    """
    path, verdicts = sampling.folder / SAMPLED, sampling.folder / VERDICTS
    if not path.exists():
        return None
    damaged = SAMPLED
    try:
        sampled: Sampled = read_sealed(path, "")
        if sampled["key"] == sampling.key:
            damaged = VERDICTS
            if file_sha256(verdicts) == sampled["verdicts_sha256"]:
                return sampled
    except (OSError, SFTKeyError, KeyError, TypeError):
        pass
    raise SFTKeyError(f"{sampling.folder / damaged} is not as it was written; delete {sampling.folder} to sample again")


def finish_sampling(sampling: PlannedSampling) -> Sampled:
    """Have stage 1 write its completions and score them; a killed sampling goes on from the batches that are there.

    The folder holds what `sftkey-eval run` would write with the same seed, less the report: the completions are in the
    verdicts. `sampled.json` appears last.

    Args:
        sampling: Which; its stage 1 is finished.

    Raises:
        SFTKeyError: What generation refuses, or what was written is damaged.
    """
    if (sampled := read_sampled(sampling)) is not None:
        return sampled
    make_folder(sampling.folder)
    torch.set_num_threads(sampling.stage1.recipe.threads)
    started = time.perf_counter()
    model_hash(sampling.stage1.final)  # refused where it is not as it was written
    options = generate_options(sampling)
    generated = generate(options, sampling.folder / COMPLETIONS)
    written_at = time.perf_counter()
    tally = score_file(generated.path, sampling.folder / VERDICTS, ScoreOptions())
    scored_at = time.perf_counter()
    config, written = load_config(sampling.stage1.final), _written_tokens(sampling)
    # Of a sampling that was interrupted, what this process has not done took as long in proportion.
    share = generated.num_new / generated.num_completions
    sampled = {
        "key": sampling.key,
        "items": generated.num_items,
        "sampled": generated.num_completions,
        "max_new_tokens": options.max_new_tokens,
        "new_tokens": int(written.sum()),
        "flops": written_flops(config, _prompt_tokens(sampling) + written, int(written.sum())),
        "error_classes": dict(sorted(tally.error_classes.items())),
        "verdicts_sha256": file_sha256(sampling.folder / VERDICTS),
        "seconds": {"sampling": (written_at - started) / share if share else None, "scoring": scored_at - written_at},
    }
    write_sealed(sampling.folder / SAMPLED, sampled)
    generated.path.unlink()
    return sampled


def generate_options(sampling: PlannedSampling) -> GenerateOptions:
    """The options of `sftkey-eval generate` that give the same completions.

    Raises:
        SFTKeyError: Prompts and completions do not fit the model.
    """
    stage1, words = sampling.stage1, sampling.words
    data = stage1.dataset.folders["train"]
    longest = int(pc.max(open_shards(data, columns=["prompt_tokens"])["prompt_tokens"]).as_py())
    return GenerateOptions(
        model=str(stage1.final),
        data=data,
        batch_size=sampling.batch_size,
        max_new_tokens=max_new_tokens_for(load_config(stage1.final), data, longest, words.max_new_tokens),
        temperature=words.temperature,
        top_p=words.top_p,
        num_samples=words.samples,
        seed=sampling.seed,
        limit=words.items or None,
        device=None if stage1.recipe.device == "auto" else stage1.recipe.device,
        name=stage1.label,
    )


def _written_tokens(sampling: PlannedSampling) -> torch.Tensor:
    """Tokens of each completion, its end token included; counted by encoding what was written."""
    verdicts, _ = read_verdicts(sampling.folder / VERDICTS)
    tokenizer = load_tokenizer(str(sampling.stage1.final))
    encoded = tokenizer([verdict.completion or "" for verdict in verdicts], add_special_tokens=False)["input_ids"]
    ended = [verdict.finish_reason == "stop" for verdict in verdicts]
    return torch.tensor([len(ids) + end for ids, end in zip(encoded, ended, strict=True)])


def _prompt_tokens(sampling: PlannedSampling) -> torch.Tensor:
    """Tokens of the prompt of each completion."""
    column = open_shards(sampling.stage1.dataset.folders["train"], columns=["prompt_tokens"])["prompt_tokens"]
    return torch.tensor(column.to_pylist()[: sampling.num_items]).repeat_interleave(sampling.words.samples)


def make_own_examples(run: PlannedRun, own: OwnExamples) -> dict[str, Any] | str:
    """Build the folder that a run trains on, of what stage 1 has written, and say what it cost and what was left out.

    Args:
        run: Which; its sampling is finished.
        own: What it trains on.

    Returns:
        Facts for the run's result; or, where no completion is left to train on, the line that says so.

    Raises:
        SFTKeyError: A build fails for another reason.
    """
    sampled, folder = finish_sampling(own.sampling), run.recipe.data
    if not (folder / MANIFEST).exists():
        try:
            build(build_config(run, own), folder)
        except NothingLeft as nothing:
            found = ", ".join(f"{name} {num}" for name, num in sampled["error_classes"].items())
            none = f"none of {sampled['sampled']} completions of stage 1 is kept (keep = {own.keep!r})"
            return f"{none}: {found}; left out as {nothing.reasons}"
    manifest = read_manifest(folder)
    num = manifest.counts.written
    return {
        **{name: value for name, value in sampled.items() if name != "verdicts_sha256"},
        "keep": own.keep,
        "per_item": own.per_item,
        "examples": num,
        "examples_by_class": _classes(folder, own.sampling.folder / VERDICTS),
        "left_out": manifest.rejects,
        "epochs": num_stage_examples(run.recipe.stages[0], num) / num,
        "digest": content_digest(manifest, str(folder)),
    }


def build_config(run: PlannedRun, own: OwnExamples) -> BuildConfig:
    """The options of `sftkey-data build completions` that give the same examples.

    The prompts are built as those of the train set were. Examples that have become too long for the model with the
    gold Key are rejects, and counted like all that is left out.
    """
    train = run.dataset.folders["train"]
    manifest = read_manifest(train)
    context = getattr(load_config(own.sampling.stage1.final).get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (context, manifest.config.get("max_tokens")) if limit is not None]
    options = {
        "verdicts": str(own.sampling.folder / VERDICTS),
        "keep": own.keep,
        "per_item": own.per_item,
        **_template_option(manifest.template, run.folder),
    }
    carried = {name: manifest.config[name] for name in _CARRIED_OVER if name in manifest.config}
    return BuildConfig(
        source="completions",
        split=manifest.split,
        tokenizer=str(train / TOKENIZER_FOLDER),
        max_tokens=min(limits, default=None),
        max_reject_rate=1.0,
        options=options,
        **carried,
    )


def _template_option(template: Template, folder: Path) -> dict[str, str]:
    """The train set's template as a file, where it is not built in."""
    if BUILTIN.get(template.name) == template:
        return {}
    path = folder / f"{template.name}.toml"
    write_text(path, "".join(f"{name} = {json.dumps(value)}\n" for name, value in asdict(template).items()))
    return {"template": str(path)}


def _classes(folder: Path, verdicts: Path) -> dict[str, int]:
    """How many examples are of which error class; the id of an example ends in the row of its verdict."""
    found, _ = read_verdicts(verdicts)
    ids = open_shards(folder, columns=["id"])["id"].to_pylist()
    return dict(sorted(Counter(found[int(id_.rpartition("/")[2])].error_class for id_ in ids).items()))
