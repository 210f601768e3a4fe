"""Writes the growth of a build with its rows into SCALING.md anew, of a file of results, and draws scaling.svg.

    python benchmarks/scaling_page.py benchmarks/results/DATE-rows.jsonl
    python benchmarks/scaling_page.py --memory benchmarks/results/DATE-memory.jsonl

The file is one of `bench_build.py --rows`. Each candidate gets a line, `seconds = start + rows * cost`, by least
squares of the relative errors, so that small builds count as much as large ones; and the power with which the time
grows from the second largest size to the largest, 1 where it is linear. What stands in the page between
`<!-- growth: FILE -->` and `<!-- end -->` is replaced; with `--memory`, of a file that tells the memory alone, what
stands behind `<!-- memory: FILE -->`.
"""

import argparse
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot

HERE = Path(__file__).resolve().parent
PAGE, PICTURE = HERE / "SCALING.md", HERE / "scaling.svg"
MEMORY = re.compile(r"<!-- memory: (\S*) -->\n.*?(<!-- end -->)", re.DOTALL)
GROWTH = re.compile(r"<!-- growth: (\S*) -->\n.*?(<!-- end -->)", re.DOTALL)
LABELS = {"sftkey": "text and ids", "sftkey text": "text alone"}


class Size(NamedTuple):
    """One build: its rows, its seconds (median) and the largest memory of all its processes."""

    rows: int
    seconds: float
    peak_mib: int


class Line(NamedTuple):
    """What the time follows: seconds at no rows, and microseconds of a row."""

    start_seconds: float
    row_us: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="file of `bench_build.py --rows`")
    parser.add_argument("--memory", action="store_true", help="the file tells the memory alone")
    options = parser.parse_args()
    results = options.results
    reports = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    if options.memory:
        PAGE.write_text(with_memory(PAGE.read_text(encoding="utf-8"), results.name, reports), encoding="utf-8")
        return
    sizes = sizes_of(reports)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), results.name, sizes), encoding="utf-8")
    draw(sizes, PICTURE)


def sizes_of(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[Size]]:
    """The builds of each candidate of ours, smallest first."""
    found = {
        name: sorted(
            Size(report["rows"], report["results"][name]["seconds"], report["results"][name]["peak_mib"])
            for report in reports
            if name in report["results"]
        )
        for name in LABELS
    }
    return {name: of for name, of in found.items() if of}


def fit(sizes: Sequence[Size]) -> Line:
    """The line through the builds; of one alone no cost of a row can be told.

    Raises:
        SystemExit: There are fewer than two sizes.
    """
    if len({size.rows for size in sizes}) < 2:
        raise SystemExit("error: a line needs builds of two sizes")
    rows, seconds = np.array([size.rows for size in sizes], float), np.array([size.seconds for size in sizes])
    cost, start = np.polyfit(rows, seconds, 1, w=1 / seconds)
    return Line(float(start), float(cost) * 1e6)


def power(sizes: Sequence[Size]) -> float:
    """With which power of the rows the time grows between the two largest."""
    before, last = sizes[-2:]
    return math.log(last.seconds / before.seconds) / math.log(last.rows / before.rows)


def page(text: str, source: str, sizes: Mapping[str, Sequence[Size]]) -> str:
    """The page with the table of these builds."""
    return GROWTH.sub(lambda found: f"<!-- growth: {source} -->\n{growth(source, sizes)}\n{found[2]}", text)


def growth(source: str, sizes: Mapping[str, Sequence[Size]]) -> str:
    """A table of all builds, and a sentence of each candidate's line."""
    rows = sorted({size.rows for of in sizes.values() for size in of})
    by_rows = {name: {size.rows: size for size in of} for name, of in sizes.items()}
    head = ["rows", *(f"{LABELS[name]}, {unit}" for name in sizes for unit in ("seconds", "MiB"))]
    table = [head]
    for num in rows:
        found = [by_rows[name].get(num) for name in sizes]
        cells = ((f"{size.seconds:,.2f}", f"{size.peak_mib:,}") if size else ("", "") for size in found)
        table.append([f"{num:,}", *chain.from_iterable(cells)])
    said = [sentence(LABELS[name], of) for name, of in sizes.items()]
    return "\n".join(
        [
            f"Of `benchmarks/results/{source}`; MiB are the peak of all processes.",
            "",
            f"| {' | '.join(table[0])} |",
            "|---:" * len(head) + "|",
            *(f"| {' | '.join(row)} |" for row in table[1:]),
            "",
            *said,
            "",
            "![Time against rows](scaling.svg)",
        ]
    )


def with_memory(text: str, source: str, reports: Sequence[Mapping[str, Any]]) -> str:
    """The page with the largest memory of builds of each size."""
    table = [f"| rows | {' | '.join(f'{label}, MiB' for label in LABELS.values())} |"]
    table.append("|---:" * (len(LABELS) + 1) + "|")
    for report in reports:
        peaks = [f"{report['results'][name]['peak_mib']:,}" for name in LABELS]
        table.append(f"| {report['rows']:,} | {' | '.join(peaks)} |")
    return MEMORY.sub(lambda found: "\n".join([f"<!-- memory: {source} -->", *table, found[2]]), text)


def sentence(label: str, sizes: Sequence[Size]) -> str:
    """What the builds of a candidate follow."""
    line, before, last = fit(sizes), sizes[-2], sizes[-1]
    more = f"memory by {last.peak_mib - before.peak_mib:+} MiB"
    grows = f"the time grows with the power {power(sizes):.2f} of the rows, {more}"
    cost = f"{line.start_seconds:.1f} s and {line.row_us:.1f} µs a row"
    return f"- {label}: {cost}; from {before.rows:,} to {last.rows:,} rows {grows}."


def draw(sizes: Mapping[str, Sequence[Size]], path: Path) -> None:
    """Time against rows, both on scales of powers of ten, with the lines; the same bytes for the same sizes."""
    mpl.rcParams["svg.hashsalt"] = "scaling"
    figure, axes = pyplot.subplots(figsize=(6.4, 4))
    for name, of in sizes.items():
        line = fit(of)
        along = np.geomspace(of[0].rows, of[-1].rows, 100)
        (drawn,) = axes.loglog(along, line.start_seconds + along * line.row_us / 1e6, linewidth=1)
        axes.loglog(
            [size.rows for size in of],
            [size.seconds for size in of],
            "o",
            color=drawn.get_color(),
            label=f"{LABELS[name]}: {line.start_seconds:.1f} s + {line.row_us:.1f} µs a row",
        )
    axes.set_xlabel("rows")
    axes.set_ylabel("seconds, whole process")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
