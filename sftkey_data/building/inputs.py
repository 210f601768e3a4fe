"""The rows of a build: which sources, which splits and slices of them."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice

from pydantic import BaseModel

from sftkey_data.building.mix import SourceConfig
from sftkey_data.console import tell
from sftkey_data.errors import SFTKeyError
from sftkey_data.registry import Dataset
from sftkey_data.sources import source as sources
from sftkey_data.sources.source import Record, Source
from sftkey_data.sources.split_slices import Window, base_names, windows_of
from sftkey_data.sources.survey import InputSurvey


def find_inputs(dataset: Dataset, asked: SourceConfig) -> tuple[Source, ...]:
    """The sources that a build reads, each of one split.

    Raises:
        SFTKeyError: None is named, one is named twice, missing or of an unknown format; `--split` is misspelt, not
            understood, or names a split that no input has.
    """
    if dataset.generate is not None:
        if asked.inputs:
            known = ", ".join(dataset.options.model_fields) if dataset.options is not None else "none"
            raise SFTKeyError(
                f"{dataset.name} makes its rows by its options ({known}): it takes no --input {asked.inputs[0]}"
            )
        return ()
    names = asked.inputs or ((dataset.default_input,) if dataset.default_input else ())
    if not names:
        raise SFTKeyError(f"{dataset.name} has no input of its own: name a file, URL or hub id with --input")
    if len(set(names)) < len(names):
        raise SFTKeyError(f"the same --input is named twice: {', '.join(names)}")
    split = asked.split if asked.inputs else asked.split or dataset.default_split
    found = chain.from_iterable(_sources(name, split) for name in names)
    inputs = tuple(replace(source, fields=dataset.fields) for source in found)
    for base in base_names(split) if split else ():
        if base not in {source.split for source in inputs}:
            raise SFTKeyError(
                f"--split {split!r}: no input's name says {base} ({', '.join(names)}): name the files after splits"
            )
    return inputs


def _sources(name: str, split: str | None) -> list[Source]:
    """An input once for each split that is wanted of it; a file is of one split, that of its name where there are more.

    Raises:
        SFTKeyError: As `find_source`; a split that is misspelt or not understood.
    """
    bases = base_names(split) if split else (None,)
    found = [sources.find_source(name, base) for base in bases]
    if found[0].kind == "dataset" or split is None:
        return found
    for base in bases:
        sources.refuse_misspelt(str(base))
    own = sources.named_split(name)
    if len(bases) > 1:
        if (own or "train") not in bases:
            raise SFTKeyError(f"--split {split!r}: {name} belongs to none of them: leave it out")
        return [source for source in found if source.split == (own or "train")]
    if own not in (None, bases[0]) and {own, bases[0]} != {"dev", "validation"}:
        tell(f"warning: --split {bases[0]} labels the rows of {name}, whose name says {own}", err=True)
    return found


def label_of(inputs: tuple[Source, ...], asked: SourceConfig) -> str:
    """The name of what is read: the split, or those that are added up, without their slices."""
    if asked.split:
        return "+".join(base_names(asked.split))
    splits = {source.split for source in inputs} or {"train"}
    if len(splits) > 1:
        raise SFTKeyError(f"the inputs belong to different splits ({', '.join(sorted(splits))}): name one with --split")
    return splits.pop()


def find_windows(
    dataset: Dataset,
    inputs: tuple[Source, ...],
    surveys: tuple[InputSurvey, ...],
    label: str,
    options: BaseModel | None,
    split: str,
) -> tuple[Window, ...]:
    """What a split with slices names of each split; where a survey does not know the number of rows, they are read."""
    if dataset.generate is not None:
        return windows_of(split, {label: sum(1 for _ in generate_rows(dataset, label, options))})
    lengths = dict.fromkeys(base_names(split), 0)
    for source, survey in zip(inputs, surveys, strict=True):
        lengths[source.split] += sources.count_records(source) if survey.lines is None else survey.lines.num_rows
    return windows_of(split, lengths)


def generate_rows(
    dataset: Dataset, split: str, options: BaseModel | None, windows: tuple[Window, ...] = ()
) -> Iterator[Record]:
    """The rows of a generated set."""

    def rows_of(_: str | None) -> Iterator[Record]:
        rows = dataset.generate(options, split) if dataset.generate is not None else iter(())
        return sources.generated_records(dataset.name, split, rows)

    return _sliced(rows_of, windows)


def read_rows(inputs: tuple[Source, ...], windows: tuple[Window, ...] = ()) -> Iterator[Record]:
    """The rows of sources, in order."""

    def rows_of(base: str | None) -> Iterator[Record]:
        chosen = [source for source in inputs if base is None or source.split == base]
        return chain.from_iterable(sources.read_source(source) for source in chosen)

    return _sliced(rows_of, windows)


def _sliced(rows_of: Callable[[str | None], Iterator[Record]], windows: tuple[Window, ...]) -> Iterator[Record]:
    if not windows:
        return rows_of(None)
    return chain.from_iterable(islice(rows_of(window.base), window.start, window.stop) for window in windows)
