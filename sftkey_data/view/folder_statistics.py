"""Statistics of a prepared folder, as a table and as a plot: from the manifest and whole columns of the shards.

Lengths are in tokens, or in characters (code points) where the folder has no tokens. Only the columns that count are
read, memory-mapped, shard by shard; of `input_ids` only the offsets.
"""

import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sftkey_data.arrays import Int64s
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.prepared.manifest import Manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.schema import CHARACTER_SPANS, STRADDLE_NAMES, TOKEN_BORDERS
from sftkey_data.storage.appearing import write_bytes
from sftkey_data.storage.own_output import own_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Floats = NDArray[np.float64]

TABLE_QUANTILES = {"min": 0.0, "p5": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
MAX_REASONS = 8
# Okabe and Ito: told apart also without colour vision; the trainer's plots use the same.
REGION_COLOURS = {"example": "#999999", "completion": "#009E73", "cot": "#0072B2", "key": "#D55E00"}


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a folder holds; every array has one entry per example, in the shards' order.

    `completion` counts the final EOS where lengths are tokens, and `cot` runs to the end of the closing CoT tag there.
    """

    manifest: Manifest
    unit: str  # "tokens" or "characters"
    example: Int64s
    completion: Int64s
    cot: Int64s
    key: Int64s
    straddles: dict[str, int]  # examples per kind; empty where lengths are characters

    @property
    def key_share(self) -> Floats:
        """The Key's part of each completion, in [0, 1]."""
        return self.key / self.completion

    @property
    def cot_ratio(self) -> Floats:
        """How often the Key fits into each CoT."""
        return self.cot / self.key


def read_statistics(directory: Path | str) -> Statistics:
    """Measure a prepared folder, local or by URL; a million rows take about a second.

    Raises:
        SFTKeyError: Not a prepared folder, or a shard that is missing or damaged.
    """
    prepared = open_prepared(directory)
    tokenized = prepared.manifest.tokenizer is not None
    measure = _token_lengths if tokenized else _character_lengths
    parts, straddles = [], Counter[str]()
    for table in prepared.tables():
        parts.append(measure(table))
        straddles.update(_straddles(table) if tokenized else {})
    if not parts:
        raise SFTKeyError(f"{directory} holds no examples")
    example, completion, cot, key = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    unit = "tokens" if tokenized else "characters"
    return Statistics(prepared.manifest, unit, example, completion, cot, key, dict(straddles))


def _token_lengths(table: pa.Table) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    example = pc.list_value_length(table["input_ids"]).to_numpy().astype("int64")
    prompt, cot_end, key_start, key_end, _ = (table[name].to_numpy().astype("int64") for name in TOKEN_BORDERS)
    return example, example - prompt, cot_end - prompt, key_end - key_start


def _character_lengths(table: pa.Table) -> tuple[Int64s, Int64s, Int64s, Int64s]:
    prompt, completion = (pc.utf8_length(table[name]).to_numpy().astype("int64") for name in ("prompt", "completion"))
    cot_start, cot_end, key_start, key_end = (table[name].to_numpy().astype("int64") for name in CHARACTER_SPANS)
    return prompt + completion, completion, cot_end - cot_start, key_end - key_start


def _straddles(table: pa.Table) -> dict[str, int]:
    bits = table["straddle"].to_numpy()
    return {name: int(np.count_nonzero(bits & bit)) for bit, name in STRADDLE_NAMES.items()}


def as_text(statistics: Statistics) -> str:
    """The table that `stats` prints: aligned columns of plain text."""
    manifest, counts = statistics.manifest, statistics.manifest.counts
    lines = [
        f"{manifest.dataset} ({manifest.split}), template {manifest.template.name}",
        f"{counts.rows_read} read, {counts.written} written, {counts.rejected} rejected"
        + f", {manifest.held_out} held out" * (manifest.held_out > 0),
        "",
        *_aligned([[f"per example, in {statistics.unit}", "mean", *TABLE_QUANTILES], *_length_rows(statistics)]),
        "",
        f"Key share of the completion {statistics.unit}: {_total_share(statistics):.2%}",
        f"shortened CoTs: {manifest.statistics.get('shortened', 0)}",
        f"questions that repeat another: {manifest.statistics.get('duplicate_questions', 0)}",
    ]
    left_out = manifest.statistics.get("left_out", {})
    tables = {"sources": manifest.by_source, "straddles": statistics.straddles, "left out of the rows": left_out}
    for title, counted in tables.items():
        lines += ["", *_counted(title, counted, "of written", counts.written)] if counted else []
    rejects = dict(sorted(manifest.rejects.items(), key=lambda item: -item[1]))
    lines += ["", *_counted("rejected because", rejects or {"none": 0}, "of read", counts.rows_read)]
    return "\n".join(lines) + "\n"


def statistics_json(statistics: Statistics) -> str:
    """The same in one line of JSON."""
    lengths = {name: getattr(statistics, name) for name in ("example", "completion", "cot", "key")}
    measured = {
        name: {
            "mean": float(np.mean(values)),
            **{quantile: float(np.quantile(values, share)) for quantile, share in TABLE_QUANTILES.items()},
        }
        for name, values in lengths.items()
    }
    manifest = statistics.manifest
    return json.dumps(
        {
            "dataset": manifest.dataset,
            "split": manifest.split,
            "template": manifest.template.name,
            **manifest.counts.model_dump(),
            "held_out": manifest.held_out,
            "unit": statistics.unit,
            **measured,
            "key_share": _total_share(statistics),
            "straddles": statistics.straddles,
            "rejects": manifest.rejects,
            **({"sources": manifest.by_source} if manifest.mix else {}),
        }
    )


def _length_rows(statistics: Statistics) -> list[list[str]]:
    measured: dict[str, tuple[Any, str]] = {
        "example": (statistics.example, ".0f"),
        "completion": (statistics.completion, ".0f"),
        "CoT": (statistics.cot, ".0f"),
        "Key": (statistics.key, ".0f"),
        "Key share of the completion, %": (100 * statistics.key_share, ".2f"),
        "CoT/Key ratio": (statistics.cot_ratio, ".1f"),
    }
    rows = []
    for name, (values, form) in measured.items():
        mean = format(values.mean(), ".2f")
        rows.append([name, mean, *(format(value, form) for value in _quantiles(values))])
    return rows


def _quantiles(values: Any) -> Any:
    """As in the manifest: the smallest value that at least this share of the examples does not exceed."""
    return np.quantile(values, list(TABLE_QUANTILES.values()), method="inverted_cdf")


def _median(values: Any) -> float:
    """The table's p50, so that plot and table name one number."""
    return float(np.quantile(values, TABLE_QUANTILES["p50"], method="inverted_cdf"))


def _total_share(statistics: Statistics) -> float:
    return float(statistics.key.sum() / statistics.completion.sum())


def _counted(title: str, counts: dict[str, int], of: str, total: int) -> list[str]:
    rows = [[name, str(n), f"{n / total:.2%}" if total else "–"] for name, n in counts.items()]
    return _aligned([[title, "rows", of], *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def draw(statistics: Statistics, path: Path) -> None:
    """Write the statistics as a PNG of four panels: lengths, Key share, CoT/Key ratio, reject reasons.

    Raises:
        SFTKeyError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    manifest = statistics.manifest
    figure = Figure(figsize=(10.5, 7), layout="constrained")
    panels = figure.subplots(2, 2)
    _draw_lengths(panels[0, 0], statistics)
    _draw_share(panels[0, 1], statistics)
    _draw_ratio(panels[1, 0], statistics)
    _draw_rejects(panels[1, 1], manifest)
    figure.suptitle(f"{manifest.dataset} ({manifest.split}): {manifest.counts.written:,} examples", fontsize=12)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    try:
        with own_file(path, "a plot", makes_folder=False):
            write_bytes(path, buffer.getvalue())
    except Interrupted as error:
        raise SFTKeyError(f"--plot {error}") from None


def _draw_lengths(axes: "Axes", statistics: Statistics) -> None:
    series = {name: getattr(statistics, name) for name in REGION_COLOURS}
    bins = _logarithmic_bins(np.concatenate([_ends(values) for values in series.values()]))
    for name, values in series.items():
        label = f"{name.replace('cot', 'CoT').replace('key', 'Key')}: median {_median(values):,.0f}"
        counts = np.histogram(values, bins)[0]
        first, last = np.flatnonzero(counts)[[0, -1]]
        steps, edges = counts[first : last + 1], bins[first : last + 2]
        axes.stairs(steps, edges, color=REGION_COLOURS[name], linewidth=1.5, label=label)
    _finish(axes, f"Lengths in {statistics.unit}", statistics.unit)
    axes.set_yscale("log")  # Keys pile up on one or two tokens and would flatten the others
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylim(0.7, 8 * len(statistics.example))  # room for the legend
    axes.set_ylabel("examples (logarithmic)", fontsize=9)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
    _plain_logarithmic(axes)


def _draw_share(axes: "Axes", statistics: Statistics) -> None:
    shares = 100 * statistics.key_share
    bins = np.linspace(0, max(1.0, float(shares.max()) * 1.02), 51)
    axes.stairs(np.histogram(shares, bins)[0], bins, fill=True, color=REGION_COLOURS["key"], alpha=0.75)
    _mark(axes, 100 * _total_share(statistics), "of all: {:.2f} %", "-")
    _mark(axes, _median(shares), "median: {:.2f} %", "--")
    _finish(axes, "Key share of the completion", f"% of its {statistics.unit}")
    axes.legend(fontsize=8, frameon=False)


def _draw_ratio(axes: "Axes", statistics: Statistics) -> None:
    ratios = statistics.cot_ratio
    bins = _logarithmic_bins(_ends(ratios), whole=False)
    axes.stairs(np.histogram(ratios, bins)[0], bins, fill=True, color=REGION_COLOURS["cot"], alpha=0.75)
    _mark(axes, _median(ratios), "median: {:.1f}", "--")
    _finish(axes, "CoT/Key ratio", f"{statistics.unit} of the CoT per {statistics.unit.removesuffix('s')} of the Key")
    axes.legend(fontsize=8, frameon=False)
    _plain_logarithmic(axes)


def _draw_rejects(axes: "Axes", manifest: Manifest) -> None:
    counts = manifest.counts
    axes.set_title(f"Rejected: {counts.rejected:,} of {counts.rows_read:,} rows", fontsize=10)
    if not manifest.rejects:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes, color="#666666")
        axes.set_axis_off()
        return
    reasons = sorted(manifest.rejects.items(), key=lambda item: -item[1])
    if len(reasons) > MAX_REASONS:
        rest = reasons[MAX_REASONS - 1 :]
        reasons = [*reasons[: MAX_REASONS - 1], (f"{len(rest)} other reasons", sum(n for _, n in rest))]
    bars = axes.barh([name for name, _ in reasons], [n for _, n in reasons], color="#CC79A7", height=0.6)
    axes.bar_label(bars, [f"{n:,} ({n / counts.rows_read:.2%})" for _, n in reasons], padding=3, fontsize=8)
    axes.set_xlim(right=1.35 * reasons[0][1])
    axes.set_ylim(max(4, len(reasons)) - 0.5, -0.5)
    axes.set_xlabel("rows", fontsize=9)
    _whole_ticks(axes.xaxis)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _ends(values: Any) -> Any:
    return np.array([values.min(), values.max()], np.float64)


def _logarithmic_bins(values: Any, *, whole: bool = True) -> Any:
    """About 60 bin borders over positive values; `whole` numbers get no bin that can hold none of them."""
    low, high = max(float(values.min()), 0.5 if whole else 1e-3), max(float(values.max()), 1.0)
    bins = np.geomspace(low, high * 1.02, 61)
    return np.unique(np.concatenate([np.floor(bins) - 0.5, [np.ceil(high) + 0.5]]).clip(0.5)) if whole else bins


def _mark(axes: "Axes", value: float, label: str, line: str) -> None:
    axes.axvline(value, color="#222222", linewidth=1.2, linestyle=line, label=label.format(value))


def _finish(axes: "Axes", title: str, unit: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(unit, fontsize=9)
    axes.set_ylabel("examples", fontsize=9)
    _whole_ticks(axes.yaxis)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _whole_ticks(axis: "Axis") -> None:
    """Ticks at whole numbers only: rounding labels between them would write 0 0 1 2 2 2."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, min_n_ticks=1))
    axis.set_major_formatter("{x:,.0f}")


def _plain_logarithmic(axes: "Axes") -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
