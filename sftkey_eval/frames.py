"""Verdicts, rates and the tables of a report as pandas DataFrames, to group, filter, plot and write with pandas."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_eval.analysis.loaded_runs import Run, load_runs
from sftkey_eval.analysis.summary import HEADLINE, Rate, Shares
from sftkey_eval.records.verdict_reader import read_texts
from sftkey_eval.records.verdicts import VERDICT_COLUMNS
from sftkey_eval.report.tables import Table, spread

RUN, ARM = "run", "arm"
_RATES = {"format": "format_valid", "strict": "correct", "lenient": "lenient_correct", "given_format": "correct"}
"""Of `HEADLINE`, and the column that each counts."""
_NEEDED = ("item_id", *dict.fromkeys(_RATES.values()))


def load_verdicts(*runs: str | Path, data: "str | Path | pd.DataFrame | None" = None) -> pd.DataFrame:
    """The verdicts of one or several runs, one row for each completion.

    Args:
        runs: Run folders or verdicts files, also as `LABEL=PATH`; the column `run` has the label.
        data: Prepared folder of the items, or a table with the column `id`: its columns stand beside the verdicts,
            those of a name that verdicts have too with `_data` behind it. Every item must be in it.

    Returns:
        The columns of `verdicts.parquet` (see `sftkey_eval.records.verdicts`), after `run` and `arm`.

    Raises:
        SFTKeyError: A run is not there or was changed, or items are not in `data`.

    Example:
        import sftkey_eval

        sftkey_eval.score("theirs.jsonl", "runs/theirs/verdicts.parquet", template="boxed", gold_field="answer")
        verdicts = sftkey_eval.load_verdicts("runs/theirs")
        print(verdicts.groupby("error_class").size())
    """
    if not runs:
        raise SFTKeyError("load_verdicts: no runs given, expected at least one run folder or verdicts file")
    frame = pd.concat([_frame(run) for run in load_runs([str(run) for run in runs])], ignore_index=True)
    return frame if data is None else _with_data(frame, data)


def rates(verdicts: pd.DataFrame, by: str | Sequence[str] = RUN) -> pd.DataFrame:
    """Format rate and accuracies of groups of verdicts, each with its count and its 95 % interval.

    Args:
        verdicts: From `load_verdicts`, also filtered or with columns of your own.
        by: The column or columns to group by, any of the table.

    Returns:
        One row a group. Of each rate the columns `X`, `X_low`, `X_high`, `X_k` and `X_n`, as in [what the numbers
        mean](numbers.md): `format`, `strict`, `lenient`, and `given_format`, the accuracy among the format-valid.

    Raises:
        SFTKeyError: No verdicts, or no such column.

    Example:
        import sftkey_eval

        verdicts = sftkey_eval.load_verdicts("runs/theirs")
        by_type = sftkey_eval.rates(verdicts, by="answer_type")
        by_type.to_csv("by_type.csv")
        print(by_type[["strict", "strict_low", "strict_high"]].to_latex(float_format="%.3f"))
    """
    names = [by] if isinstance(by, str) else list(by)
    for name in (*names, *_NEEDED):
        if name not in verdicts.columns:
            raise SFTKeyError(f"rates: no column {name!r}{nearest(name, map(str, verdicts.columns))}")
    if verdicts.empty or not names:
        raise SFTKeyError(f"rates: {'no verdicts' if names else 'no column to group by'}, so there is no rate")
    groups = verdicts.groupby(names, dropna=False, observed=True)
    index = pd.MultiIndex.from_tuples([key for key, _ in groups], names=names)
    rows = [_group_rates(group) for _, group in groups]
    return pd.DataFrame(rows, index=index if len(names) > 1 else index.get_level_values(0))


def tables(*runs: str | Path) -> dict[str, pd.DataFrame]:
    """The tables of the report on one or several runs by name, with one number or text a cell, as its CSV files have.

    Args:
        runs: Run folders or verdicts files, also as `LABEL=PATH`; the others are compared with the first.

    Raises:
        SFTKeyError: A run is not there, was changed, or holds no verdicts.

    Example:
        import sftkey_eval

        headline = sftkey_eval.tables("runs/theirs")["headline"]
        print(headline.filter(like="format_rate").to_string(index=False))
    """
    from sftkey_eval.report.report import make_report

    return frames_of(make_report(load_runs([str(run) for run in runs])).tables)


def frames_of(found: Iterable[Table]) -> dict[str, pd.DataFrame]:
    """Tables of a report as DataFrames, by name."""
    return {table.name: pd.DataFrame(rows, columns=names) for table in found for names, rows in [spread(table)]}


def _frame(run: Run) -> pd.DataFrame:
    _, prompts, completions = zip(*read_texts(run.path, range(len(run.verdicts))), strict=True)
    texts = {"prompt": list(prompts), "completion": list(completions)}
    columns = {name: texts.get(name) or run.verdicts.values(name) for name in VERDICT_COLUMNS}
    return pd.DataFrame({RUN: run.label, ARM: run.arm, **columns})


def _with_data(verdicts: pd.DataFrame, data: "str | Path | pd.DataFrame") -> pd.DataFrame:
    items, where = (data, "data") if isinstance(data, pd.DataFrame) else (_items(data), str(data))
    if "id" not in items.columns:
        raise SFTKeyError(f"{where}: no column 'id', which names the items; found {', '.join(map(str, items.columns))}")
    if (repeated := items["id"].duplicated()).any():
        raise SFTKeyError(f"{where}: id {items['id'][repeated].iloc[0]!r} occurs several times, expected once")
    missing = ~verdicts["item_id"].isin(items["id"])
    if missing.any():
        first, count = verdicts["item_id"][missing].iloc[0], int(missing.sum())
        raise SFTKeyError(f"{where}: {count} of {len(verdicts)} verdicts are of no item in it, as {first!r}")
    renamed = items.rename(columns={name: f"{name}_data" for name in items.columns if name in verdicts.columns})
    return verdicts.merge(renamed, how="left", left_on="item_id", right_on="id_data").drop(columns="id_data")


def _items(folder: str | Path) -> pd.DataFrame:
    """The rows of a prepared folder; of the ids of their tokens only how many there are."""
    import pyarrow.compute as pc

    table = open_prepared(folder).table()
    if "input_ids" in table.column_names:
        table = table.append_column("num_tokens", pc.list_value_length(table["input_ids"])).drop_columns("input_ids")
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _group_rates(group: pd.DataFrame) -> dict[str, float | int | None]:
    share_of = Shares(pd.factorize(group["item_id"], sort=True)[0])
    valid = group["format_valid"].to_numpy(bool)
    found: dict[str, float | int | None] = {}
    for name in HEADLINE:
        rate = share_of(group[_RATES[name]].to_numpy(bool), among=valid if name == "given_format" else None)
        found |= _columns(name, rate)
    return found


def _columns(name: str, rate: Rate) -> dict[str, float | int | None]:
    parts = {"": rate.value, "_low": rate.low, "_high": rate.high, "_k": rate.k, "_n": rate.n}
    return {f"{name}{end}": value for end, value in parts.items()}
