"""Building a prepared folder: piece by piece, resumable, and under its final name only when complete.

While it works, everything lies in `OUT.partial`; a piece that is done has its shard, its rejects and a tally there. The
manifest is written last, then the folder gets its name. The same command after an interruption goes on from the pieces
that are done and gives the same bytes. Folders may be local or URLs.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sftkey_data import engine
from sftkey_data.build.build_config import BuildConfig
from sftkey_data.build.finish import finish_folder, make_manifest, refuse_rejects
from sftkey_data.build.plan import Plan, make_plan, make_recipe, proven
from sftkey_data.build.work import PLAN, REFERENCE_ONLY, hash_questions, tally_name, work_piece
from sftkey_data.console import progress
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.format.template import load_template
from sftkey_data.prepare.contamination import duplicates
from sftkey_data.prepare.rendered_rows import DROPPED, Preparation
from sftkey_data.prepared.manifest import MANIFEST, Manifest
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.process_pool import run_processes
from sftkey_data.registry import bind, load_dataset, parse_options
from sftkey_data.sources.pieces import Piece
from sftkey_data.sources.source import refuse_changed
from sftkey_data.storage.output_folder import Folder
from sftkey_data.tokens.fast_encoder import Mismatch, find_fast_encoder
from sftkey_data.tokens.tokenizer_file import Opinion, TokenizerDiffers, opinion_on

GOES_ON = "the same command goes on from the finished shards; fewer --workers need less memory"


@dataclass(frozen=True, slots=True)
class Machinery:
    """Who works: changes nothing about what is written."""

    workers: int = 1
    engine: str = "local"  # or "ray"

    def run(self, task: Callable[[Piece], Any], make_task: Callable[[], Any], pieces: Iterator[Piece]) -> Iterator[Any]:
        """Results of a task over pieces, in order."""
        if self.engine == "ray":
            return engine.run_ray(make_task, pieces)
        if self.workers == 1:
            return engine.run_here(task, pieces)
        # fork: tokenizer and evaluation questions are loaded by now, and shared
        return run_processes(task, pieces, self.workers, start="fork", hint=GOES_ON)


def build(
    config: BuildConfig, out: Path | str, *, overwrite: bool = False, machinery: Machinery = Machinery()
) -> Manifest:
    """Build a prepared folder.

    Args:
        config: What to build.
        out: The folder or URL; it must not exist or be empty unless `overwrite`.
        overwrite: Replace what is there, once the new build is complete.
        machinery: How many workers of which engine.

    Raises:
        SFTKeyError: Anything a user can mend; nothing is left behind then, but after an `Interrupted`.
    """
    final = Folder(str(out))
    half = Folder(f"{str(out).rstrip('/')}.partial")
    finished = half.exists() and MANIFEST in half.names()
    # `finished`: a publishing that was interrupted may have filled the output in part
    _refuse_output(final, overwrite=overwrite or finished)
    # a chat template is rendered by transformers, so its tokenizer is loaded anyway
    with opinion_on(config.tokenizer if not config.chat else None) as opinion:
        plan = make_plan(config, from_file=opinion is not None)
        if finished and (manifest := _same_plan(half, plan)) is not None:  # only the publishing was interrupted
            half.publish(final, last=MANIFEST)
            return manifest
        try:
            manifest = _prepared(plan, half, machinery, opinion)
        except TokenizerDiffers as difference:
            sys.stderr.write(f"{difference}: beginning again with the tokenizer that transformers gives\n")
            manifest = _prepared(make_plan(config), half, machinery)
    half.publish(final, last=MANIFEST)
    return manifest


def _prepared(plan: Plan, half: Folder, machinery: Machinery, opinion: Opinion | None = None) -> Manifest:
    """Fill the partial folder; what cannot be mended by going on leaves nothing behind."""
    _open_partial(half, plan.fingerprint)
    try:
        tallies = _work(plan, half, machinery)
        if opinion is not None and plan.unconfirmed is not None:
            # only after the work: transformers was asked beside it
            opinion.confirm(plan.unconfirmed)
        manifest = make_manifest(plan, tallies, half)
        for source in plan.inputs:
            refuse_changed(source)
        refuse_rejects(manifest, half, DROPPED | plan.recipe.dataset.expected_rejects)
    except Interrupted:
        raise
    except SFTKeyError:
        half.clear()
        raise
    return finish_folder(plan, manifest, half)


def _refuse_output(out: Folder, *, overwrite: bool) -> None:
    if Path(out.url).is_file():
        raise SFTKeyError(f"output {out.url} is a file, expected a folder")
    if not overwrite and out.exists() and out.names():
        raise SFTKeyError(f"output folder {out.url} is not empty: name another --out, or replace it with --overwrite")


def _same_plan(half: Folder, plan: Plan) -> Manifest | None:
    """The manifest of a finished build, if the same command over the same files made it."""
    try:
        manifest = Manifest.model_validate_json(half.read_bytes(MANIFEST))
    except ValueError:  # broken: it is built anew
        return None
    return manifest if manifest.fingerprint == plan.fingerprint else None


def _open_partial(half: Folder, fingerprint: str) -> None:
    """Keep the pieces of an interrupted build of the same plan; begin anew otherwise."""
    if half.exists():
        if PLAN in half.names() and half.read_bytes(PLAN) == fingerprint.encode():
            return
        half.clear()
    half.write_bytes(PLAN, fingerprint.encode())


def _work(plan: Plan, half: Folder, machinery: Machinery) -> list[UnitTally]:
    """Prepare every piece; a finding against the fast encoder begins again with the reference."""
    recipe, said = plan.recipe, ""
    if REFERENCE_ONLY not in half.names():
        recipe, said = proven(plan)
    if said:
        sys.stderr.write(f"{said}\n")
    pieces = _without_duplicates(plan, recipe, machinery) if plan.config.dedup else plan.pieces()
    try:
        return _run(plan, recipe, half, machinery, pieces)
    except Mismatch as mismatch:
        sys.stderr.write(f"the fast encoder gives {mismatch}: beginning again with the reference encoder\n")
        half.clear()
        half.write_bytes(PLAN, plan.fingerprint.encode())
        half.write_bytes(REFERENCE_ONLY, str(mismatch).encode("utf-8", "backslashreplace"))
        pieces = _without_duplicates(plan, recipe, machinery) if plan.config.dedup else plan.pieces()
        return _run(plan, plan.recipe, half, machinery, pieces)


def _run(
    plan: Plan, recipe: Preparation, half: Folder, machinery: Machinery, pieces: Iterator[Piece]
) -> list[UnitTally]:
    done = {name for name in half.names() if name.startswith("unit-")}
    tallies: dict[str, UnitTally] = {}
    encoder = f" ({recipe.fast.name})" if recipe.fast is not None else ""
    with progress(f"building {plan.recipe.dataset.name}{encoder}", plan.num_rows()) as bar:

        def left() -> Iterator[Piece]:
            for piece in pieces:
                name = tally_name(piece.number)
                if name not in done:
                    yield piece
                    continue
                tallies[name] = UnitTally.model_validate_json(half.read_bytes(name))
                bar.advance(bar.task_ids[0], piece.num_rows)

        fast = recipe.fast is not None
        from_file = plan.unconfirmed is not None
        make_task = partial(_remake, plan.config, plan.recipe.split, half, fast=fast, from_file=from_file)
        for tally in machinery.run(partial(work_piece, recipe=recipe, folder=half), make_task, left()):
            tallies[tally_name(int(tally.file[5:10]))] = tally  # data-00012.arrow is piece 12
            bar.advance(bar.task_ids[0], tally.read)
    return [tallies[name] for name in sorted(tallies)]  # zero-padded numbers: by name is by piece


def _remake(
    config: BuildConfig, split: str, half: Folder, *, fast: bool, from_file: bool
) -> Callable[[Piece], UnitTally]:
    """The task of `_run`, made again in another process from the configuration."""
    return partial(work_piece, recipe=_remake_recipe(config, split, fast=fast, from_file=from_file), folder=half)


def _remake_recipe(config: BuildConfig, split: str, *, fast: bool = False, from_file: bool = False) -> Preparation:
    dataset = load_dataset(config.source)
    dataset = bind(dataset, parse_options(dataset, config.options))
    recipe, _ = make_recipe(config, dataset, load_template(config.template), split, from_file=from_file)
    return replace(recipe, fast=find_fast_encoder(recipe.encoder) if fast and recipe.encoder is not None else None)


def _remake_hashing(config: BuildConfig, split: str) -> Callable[[Piece], NDArray[np.uint64]]:
    # a question's hash needs none of these, so a worker that hashes loads none of them
    plain = replace(
        config, tokenizer=None, chat=False, chat_args={}, special_tokens="reject", max_tokens=None, decontaminate=()
    )
    return partial(hash_questions, recipe=_remake_recipe(plain, split))


def _without_duplicates(plan: Plan, recipe: Preparation, machinery: Machinery) -> Iterator[Piece]:
    """The pieces, each told which of its rows repeat an earlier question: one pass more over the input."""
    with progress("looking for duplicates", plan.num_rows()) as bar:
        hashes: list[NDArray[np.uint64]] = []
        make_task = partial(_remake_hashing, plan.config, plan.recipe.split)
        for found in machinery.run(partial(hash_questions, recipe=recipe), make_task, plan.pieces()):
            hashes.append(found)
            bar.advance(bar.task_ids[0], len(found))
    _, repeated = duplicates(hashes)
    for piece, rows in zip(plan.pieces(), repeated, strict=True):
        yield replace(piece, dropped=frozenset((rows + piece.first).tolist()))
