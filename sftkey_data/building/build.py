"""Building a prepared folder: piece by piece, resumable, and under its final name only when complete.

While it works, everything lies in `OUT.partial`; a piece that is done has its shard, its rejects and a tally there. The
manifest is written last, then the folder gets its name. The same command after an interruption goes on from the pieces
that are done and gives the same bytes. Folders may be local or URLs.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sftkey_data.building.build_config import BuildConfig, checked, config_json
from sftkey_data.building.finish import drop_leftovers, finish_folder, make_manifest, refuse_rejects
from sftkey_data.building.machinery import ONE_WORKER, Machinery
from sftkey_data.building.mix import SourceConfig
from sftkey_data.building.outputs import BuildOutputs, outputs_of, refuse_outputs
from sftkey_data.building.plan import Plan, make_plan, proven
from sftkey_data.building.recipes import Recipes, remake_recipes, without_tokenizer
from sftkey_data.building.work import (
    REFERENCE_ONLY,
    TALLIES,
    hash_questions,
    is_intact,
    place_questions,
    read_tally,
    tally_name,
    work_piece,
)
from sftkey_data.console import progress, say, tell
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.prepare.contamination import duplicates
from sftkey_data.prepare.draw import Draw
from sftkey_data.prepared.manifest import HoldoutInfo, Manifest
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.sources.pieces import Piece
from sftkey_data.sources.source import refuse_changed
from sftkey_data.storage.output_folder import Folder
from sftkey_data.tokens.fast_encoder import Mismatch
from sftkey_data.tokens.tokenizer_file import Opinion, TokenizerDiffers, opinion_on

Asked = tuple[SourceConfig, ...]


def build(
    config: BuildConfig, out: Path | str, *, overwrite: bool = False, machinery: Machinery = ONE_WORKER
) -> Manifest:
    """Build a prepared folder.

    Args:
        config: What to build.
        out: The folder or URL; unless `overwrite` it must not exist, be empty, or be what the same build made before.
        overwrite: Replace what is there, once the new build is complete.
        machinery: How many workers of which engine.

    Raises:
        SFTKeyError: Anything a user can mend; nothing is left behind then, but after an `Interrupted`.
    """
    outputs = outputs_of(str(out), with_holdout=config.holdout is not None)
    with outputs.locked():
        return _built(config, outputs, overwrite=overwrite, machinery=machinery)


def _built(config: BuildConfig, outputs: BuildOutputs, *, overwrite: bool, machinery: Machinery) -> Manifest:
    for one in outputs.all:
        one.half.refuse_foreign()  # before anything is read from it
    config = _with_share(config, machinery)
    finished = outputs.main.is_finished()
    done = None if overwrite else outputs.done(config_json(config))
    # `finished`: a publishing that was interrupted may have filled the output in part
    refuse_outputs(outputs, overwrite=overwrite or finished or done is not None)
    # a chat template is rendered by transformers, so its tokenizer is loaded anyway
    with opinion_on(config.tokenizer if not config.chat else None) as opinion:
        plan = make_plan(config, from_file=opinion is not None, surveying=machinery.surveying)
        if opinion is not None and plan.unconfirmed is not None and opinion.denies(plan.unconfirmed):
            plan = make_plan(config, surveying=machinery.surveying)
        if plan.said:
            tell(plan.said, err=True)
        if done is not None and done.fingerprint == plan.fingerprint:
            tell(f"{outputs.main.final.url}: built already, of the same inputs with the same options", err=True)
            return done
        if finished and (manifest := _publishable(plan, outputs)) is not None:  # only the publishing was interrupted
            outputs.publish()
            return manifest
        refuse_outputs(outputs, overwrite=overwrite)  # what lies half published is of another command
        try:
            manifest = _prepared(plan, outputs, machinery, opinion)
        except TokenizerDiffers as difference:
            tell(f"{difference}: beginning again with the tokenizer that transformers gives", err=True)
            manifest = _prepared(make_plan(config, surveying=machinery.surveying), outputs, machinery)
    outputs.publish()
    return manifest


def _publishable(plan: Plan, outputs: BuildOutputs) -> Manifest | None:
    """The manifest of a build that is whole, its holdout finished too where it was not; None where it must be built."""
    manifest = outputs.main.manifest(plan.fingerprint)
    if manifest is None:
        return None
    drop_leftovers(manifest, outputs.main.half)
    if outputs.held is None:
        return manifest
    if (held := outputs.held.manifest(plan.fingerprint)) is not None:
        drop_leftovers(held, outputs.held.half)
        return manifest
    if not outputs.held.is_begun(plan.fingerprint) or not outputs.held.has_intact_pieces():
        return None
    _finish_held(plan, manifest, outputs)
    return manifest


def _prepared(plan: Plan, outputs: BuildOutputs, machinery: Machinery, opinion: Opinion | None = None) -> Manifest:
    """Fill the partial folders; what cannot be mended by going on leaves nothing behind."""
    outputs.open(plan.fingerprint)
    half = outputs.main.half
    try:
        plan = machinery.indexed(plan)
        tallies = _work(plan, outputs, machinery)
        if opinion is not None and plan.unconfirmed is not None:
            # only after the work: transformers was asked beside it
            opinion.confirm(plan.unconfirmed)
        manifest = make_manifest(plan, tallies, half, _other(plan, tallies, outputs))
        for source in plan.files:
            refuse_changed(source)
        refuse_rejects(manifest, half, plan)
    except Interrupted:
        raise
    except SFTKeyError:
        outputs.clear()
        raise
    manifest = finish_folder(plan, manifest, half)
    if outputs.held is not None:
        _finish_held(plan, manifest, outputs)
    return manifest


def _other(plan: Plan, tallies: list[UnitTally], outputs: BuildOutputs) -> HoldoutInfo | None:
    """What the build's manifest says of its holdout."""
    if outputs.held is None:
        return None
    held = sum(tally.written for tally in _tallies(outputs.held.half))
    share, read = plan.config.holdout or 0.0, sum(tally.read for tally in tallies)
    if not held:
        raise SFTKeyError(f"--holdout {share:g} holds out none of {read} rows: a larger share, or another --seed")
    return HoldoutInfo(
        part="train",
        share=share,
        seed=plan.config.seed,
        rows_read=read,
        other=outputs.held.title,
        other_rows=held,
    )


def _finish_held(plan: Plan, manifest: Manifest, outputs: BuildOutputs) -> None:
    held = outputs.held
    if held is None or manifest.holdout is None:
        return
    of = {"part": "holdout", "other": outputs.main.title, "other_rows": manifest.counts.written}
    info = manifest.holdout.model_copy(update=of)
    finish_folder(plan, make_manifest(plan, _tallies(held.half), held.half, info, main=manifest), held.half)


def _tallies(half: Folder) -> list[UnitTally]:
    return [read_tally(half, name) for name in half.names() if name.startswith(TALLIES)]


def _work(plan: Plan, outputs: BuildOutputs, machinery: Machinery) -> list[UnitTally]:
    """Prepare every piece; a finding against the fast encoder begins again with the reference."""
    recipes, said, half = plan.recipes, "", outputs.main.half
    if REFERENCE_ONLY not in half.names():
        recipes, said = proven(plan)
    if said:
        tell(said, err=True)
    pieces = _without_duplicates(plan, recipes, machinery) if plan.config.dedup else plan.pieces()
    try:
        return _run(plan, recipes, outputs, machinery, pieces)
    except Mismatch as mismatch:
        tell(f"the fast encoder gives {mismatch}: beginning again with the reference encoder", err=True)
        outputs.clear()
        outputs.open(plan.fingerprint)
        half.write_bytes(REFERENCE_ONLY, str(mismatch).encode("utf-8", "backslashreplace"))
        pieces = _without_duplicates(plan, recipes, machinery) if plan.config.dedup else plan.pieces()
        return _run(plan, plan.recipes, outputs, machinery, pieces)


def _run(
    plan: Plan, recipes: Recipes, outputs: BuildOutputs, machinery: Machinery, pieces: Iterator[Piece]
) -> list[UnitTally]:
    half, held = outputs.main.half, outputs.held.half if outputs.held is not None else None
    done = {name for name in half.names() if name.startswith(TALLIES)}
    tallies: dict[str, UnitTally] = {}
    fast = recipes[0].fast
    encoder = f" ({fast.name})" if fast is not None else ""
    with progress(f"building {plan.name}{encoder}", plan.num_rows()) as bar:

        def left() -> Iterator[Piece]:
            for piece in pieces:
                name = tally_name(piece.number)
                if name in done and not all(is_intact(side, name) for side in (half, held) if side):
                    say(f"{half.url}: piece {piece.number} is not as it was written; it is done again")
                    done.remove(name)
                if name not in done:
                    yield piece
                    continue
                tallies[name] = read_tally(half, name)
                bar.advance(bar.task_ids[0], piece.num_rows)

        from_file = plan.unconfirmed is not None
        make_task = partial(_remake, plan.config, plan.asked, half, held, fast=fast is not None, from_file=from_file)
        for tally in machinery.run(partial(work_piece, recipes=recipes, folder=half, held=held), make_task, left()):
            tallies[tally_name(int(tally.file[5:10]))] = tally  # data-00012.arrow is piece 12
            bar.advance(bar.task_ids[0], tally.read)
    return [tallies[name] for name in sorted(tallies)]  # zero-padded numbers: by name is by piece


def _remake(
    config: BuildConfig, asked: Asked, half: Folder, held: Folder | None, *, fast: bool, from_file: bool
) -> Callable[[Piece], UnitTally]:
    """The task of `_run`, made again in another process from the configuration."""
    recipes = remake_recipes(config, asked, fast=fast, from_file=from_file)
    return partial(work_piece, recipes=recipes, folder=half, held=held)


def _remake_hashing(config: BuildConfig, asked: Asked) -> Callable[[Piece], NDArray[np.uint64]]:
    return partial(hash_questions, recipes=remake_recipes(replace(without_tokenizer(config), decontaminate=()), asked))


def _with_share(config: BuildConfig, machinery: Machinery) -> BuildConfig:
    """The configuration whose holdout, where it was a number of questions, is the share of all that gives so many."""
    config = checked(config)
    if config.holdout is None or config.holdout < 1:
        return config
    num = int(config.holdout)
    plan = make_plan(replace(without_tokenizer(config), holdout=None, seed=0), surveying=machinery.surveying)
    plan = machinery.indexed(plan)
    found, holdout = [np.empty(0, np.uint64)], Draw(1.0, config.seed)
    with progress("drawing the holdout", plan.num_rows(copies=False)) as bar:
        make_task = partial(_remake_placing, plan.config, plan.asked, holdout)
        task = partial(place_questions, recipes=plan.recipes, holdout=holdout)
        for places in machinery.run(task, make_task, plan.pieces(copies=False)):
            found.append(places)
            bar.advance(bar.task_ids[0], len(places))
    places = np.unique(np.concatenate(found))
    if num >= len(places):
        raise SFTKeyError(f"--holdout {num}: expected fewer than the {len(places)} questions that the rows have")
    # half way between the last that is held out and the first that is not
    return replace(config, holdout=(int(places[num - 1]) + int(places[num])) / 2.0**65)


def _remake_placing(config: BuildConfig, asked: Asked, holdout: Draw) -> Callable[[Piece], NDArray[np.uint64]]:
    return partial(place_questions, recipes=remake_recipes(config, asked), holdout=holdout)


def _without_duplicates(plan: Plan, recipes: Recipes, machinery: Machinery) -> Iterator[Piece]:
    """The pieces, each told which of its rows repeat an earlier question: one pass more over the input."""
    with progress("looking for duplicates", plan.num_rows(copies=False)) as bar:
        hashes: list[NDArray[np.uint64]] = []
        make_task = partial(_remake_hashing, plan.config, plan.asked)
        for found in machinery.run(partial(hash_questions, recipes=recipes), make_task, plan.pieces(copies=False)):
            hashes.append(found)
            bar.advance(bar.task_ids[0], len(found))
    _, repeated = duplicates(hashes)
    left, of_source = iter(repeated), list[NDArray[np.int64]]()
    for reading, pieces in groupby(plan.pieces(), key=lambda piece: piece.reading):
        is_copy = recipes[reading].is_copy
        of_source = of_source if is_copy else []
        for number, piece in enumerate(pieces):  # a copy is cut into pieces as the rows were
            of_source += [] if is_copy else [next(left)]
            yield replace(piece, dropped=frozenset((of_source[number] + piece.first).tolist()))
