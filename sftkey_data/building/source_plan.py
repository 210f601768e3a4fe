"""One source of a build, checked: which dataset reads it, and which rows of which inputs."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from pydantic import BaseModel

from sftkey_data.building.inputs import find_inputs, find_windows, generate_rows, label_of, read_rows
from sftkey_data.building.mix import SourceConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepare.row_filter import parse_condition
from sftkey_data.prepared.manifest import InputInfo
from sftkey_data.registry import Dataset, bind, load_dataset, parse_options
from sftkey_data.sources import source as sources
from sftkey_data.sources.pieces import Indices, Piece, cut
from sftkey_data.sources.row_index import RowIndex, worth_indexing
from sftkey_data.sources.source import Record, Source
from sftkey_data.sources.split_slices import Window, is_sliced
from sftkey_data.sources.survey import InputSurvey, SurveyRun, start_surveys
from sftkey_data.sources.tree_hash import file_tree_hash

_FLAG = re.compile(r"--(input|split|where|set)\b")  # the words of a mix file are those of the command line


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """A source whose name, options and columns have been checked.

    `windows` are the rows that are read of each split; all where there are none. `surveys` has an entry for each input.
    `rows` has one for those whose pieces the workers read as rows of files.
    """

    asked: SourceConfig
    dataset: Dataset
    options: BaseModel | None
    inputs: tuple[Source, ...]
    windows: tuple[Window, ...] = ()
    surveys: tuple[InputSurvey, ...] = ()
    rows: Mapping[Source, RowIndex] = field(default_factory=dict)
    template: str | None = None
    """The one that the rows are written in, where they decide it."""
    said: str = ""
    """What the first rows decided, for the terminal."""

    @property
    def first(self) -> int:
        """Index of the first row, from which ids are counted: its place in the split where one slice is read."""
        return self.windows[0].start if len(self.windows) == 1 else 0

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The user's own files that decide how a row is read."""
        source_file = self.dataset.source_file
        return (*((source_file,) if source_file is not None else ()), *self.dataset.option_files)

    def num_rows(self) -> int | None:
        """How many rows will be read each time, where that is known without reading them."""
        surveyed = zip(self.inputs, self.surveys, strict=True)
        known = [self.rows[source].num_rows if source in self.rows else survey.num_rows for source, survey in surveyed]
        if self.dataset.generate is not None:
            known = [getattr(self.options, "num", None)]
        if self.windows:
            known = [window.stop - window.start if window.stop is not None else None for window in self.windows]
        if None in known:
            return None
        total = sum(n for n in known if n is not None)
        return total if self.asked.limit is None else min(total, self.asked.limit)

    def pieces(self, max_rows: int, max_bytes: int) -> Iterator[Piece]:
        """All rows, cut into what becomes one shard each; numbers as of `cut`."""
        generated = self.dataset.generate is not None
        surveyed = zip(self.inputs, self.surveys, strict=True)
        lines: Indices = {source: one.lines for source, one in surveyed if one.lines is not None}
        return cut(
            self._generated() if generated else self.inputs,
            max_rows=max_rows,
            max_bytes=max_bytes,
            limit=self.asked.limit,
            indices={**lines, **self.rows},
            windows=() if generated else self.windows,
            first=self.first,
        )

    def unindexed(self, workers: float) -> list[tuple[Source, list[Source]]]:
        """The inputs, each with its files, that so many workers had better read by themselves.

        None where only some of the rows are wanted: the parent then reads no further than these.
        """
        if self.dataset.generate is not None or self.windows or self.asked.limit is not None:
            return []
        return worth_indexing([source for source in self.inputs if not sources.is_plain_lines(source)], workers)

    def with_rows(self, found: Mapping[Source, RowIndex]) -> "SourcePlan":
        """The plan with what was found of its inputs."""
        return replace(self, rows={source: found[source] for source in self.inputs if source in found})

    def records(self) -> Iterator[Record]:
        """All records in order, at most `limit`."""
        generated = self.dataset.generate is not None
        return islice(self._generated() if generated else read_rows(self.inputs, self.windows), self.asked.limit)

    def _generated(self) -> Iterator[Record]:
        return generate_rows(self.dataset, self.asked.label, self.options, self.windows)

    def input_infos(self, rows_by_source: dict[str, int]) -> list[InputInfo]:
        """The manifest's entry for each input; a generated set has one, hashed by its options or file."""
        surveyed = zip(self.inputs, self.surveys, strict=True)
        named = [(source.name, source.split, survey.digest) for source, survey in surveyed]
        labels = [source.label for source in self.inputs]
        if self.options is not None and self.dataset.generate is not None:
            content = self.options.model_dump_json().encode()
            named = [("generated", self.asked.label, hashlib.sha256(content).hexdigest())]
            if files := self.dataset.option_files:  # rows are made of the first
                named = [(str(files[0]), self.asked.label, file_tree_hash(files[0]))]
            labels = [f"{self.dataset.name}[{self.asked.label}]"]
        return [
            InputInfo(name=name, split=split, sha256=digest, rows=rows_by_source.get(label, 0))
            for (name, split, digest), label in zip(named, labels, strict=True)
        ]


def plan_source(asked: SourceConfig, run: SurveyRun) -> SourcePlan:
    """Check a source before its first row; what `run` surveys is still to come, but where a slice of it is read.

    Raises:
        SFTKeyError: Unknown dataset or option; a missing file or column. Of a mix, with the place in it.
    """
    try:
        return _checked_source(asked, run)
    except SFTKeyError as error:
        if asked.mix is None or type(error) is not SFTKeyError:
            raise
        said = _FLAG.sub(r"`\1`", str(error))
        raise SFTKeyError(f"{asked.place}: {said}") from None


def _checked_source(asked: SourceConfig, run: SurveyRun) -> SourcePlan:
    dataset, options = _chosen(asked)
    inputs = find_inputs(dataset, asked)
    plan = _settled(SourcePlan(asked=asked, dataset=dataset, options=options, inputs=inputs))
    dataset = bind(dataset, plan.options)
    label = label_of(inputs, asked)
    wanted = tuple(parse_condition(text).column for text in asked.where)
    for source in inputs:
        sources.check_first_rows(source, (*dataset.columns, *dataset.nullable, *wanted))
    plan = replace(plan, asked=replace(plan.asked, label=label), dataset=dataset)
    if asked.split is None or not is_sliced(asked.split):
        return plan
    surveys = tuple(start_surveys(inputs, run))  # `[-10:]` needs the number of rows
    return replace(
        plan, windows=find_windows(dataset, inputs, surveys, label, plan.options, asked.split), surveys=surveys
    )


def bound_dataset(asked: SourceConfig) -> Dataset:
    """The dataset of a source, its options fixed."""
    return bind(*_chosen(asked))


def _chosen(asked: SourceConfig) -> tuple[Dataset, BaseModel | None]:
    dataset = load_dataset(asked.source)
    options = parse_options(dataset, asked.options)
    return replace(dataset, name=asked.name or dataset.name), options


def _settled(plan: SourcePlan) -> SourcePlan:
    """The plan with no option left open: what is not named, the first rows of each input decide."""
    if plan.dataset.settle is None:
        return plan
    records = (islice(sources.read_source(source), sources.FIRST_ROWS) for source in plan.inputs)
    rows = [record.row for record in chain.from_iterable(records) if isinstance(record.row, dict)]
    settled, said = plan.dataset.settle(plan.options, rows)
    changed = {name: value for name, value in settled if value != getattr(plan.options, name)}
    asked = replace(plan.asked, options={**plan.asked.options, **changed})
    return replace(plan, asked=asked, options=settled, template=settled.output_template(), said=said)
