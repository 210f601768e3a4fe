"""The tables of the documentation that quote a file of measurements say what is in it."""

import json
import math
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from markdown_blocks import ROOT
from markdown_it import MarkdownIt
from scipy.stats import t

from sftkey_eval.statistics.proportions import minimal_detectable_effect

LAST = "2026-11-30"
PERFORMANCE, SCALING, CHOOSING = "docs/performance.md", "benchmarks/SCALING.md", "docs/choosing.md"
Rows = list[list[str]]


def measured(name: str, day: str = "2026-11-25") -> list[Any]:
    """The lines of a file of results."""
    text = (ROOT / "benchmarks" / "results" / f"{day}-{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def tables_of(document: str) -> list[tuple[str, Rows]]:
    """The rows of every table, without its head, under the title of its section."""
    title, rows = "", Rows()
    found: list[tuple[str, Rows]] = []
    tokens = MarkdownIt().enable("table").parse((ROOT / document).read_text(encoding="utf-8"))
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        if token.type == "heading_open":
            title = after.content
        elif token.type == "tbody_open":
            rows = []
            found.append((title, rows))
        elif token.type == "tr_open" and after.type == "td_open":
            rows.append([])
        elif token.type == "td_open":
            rows[-1].append(after.content)
    return found


def short(value: float) -> str:
    """Two digits, as a factor is printed."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def build_rows() -> Rows:
    """Of the largest run, and for the peers of the largest that they were run on."""
    lines = [line for line in measured("build") if line["tokenizer"] == "qwen2.5"]
    rates = {
        name: result["rows_per_second"]
        for line in sorted(lines, key=lambda line: line["rows"])
        for name, result in line["results"].items()
    }
    labels = {
        "sftkey": ("`sftkey-data build`", "everything: extracted, rendered, encoded, checked, written"),
        "encode_batch": ("`tokenizers.encode_batch`", "the texts alone, nothing written"),
        "datasets.map": ("`datasets.map`, batched", "the same; on a tenth of the rows"),
        "trl": ("TRL's preparation", "prompt and completion; on a hundredth"),
    }
    return [[label, f"{rates[name]:,}", note] for name, (label, note) in labels.items()]


def train_rows() -> Rows:
    """Both stages beside each other."""
    (line,) = measured("train")
    labels = {
        "sftkey": "`sftkey-train`",
        "hf": "Hugging Face `Trainer`",
        "trl padding-free": "TRL `SFTTrainer`, padding-free",
        "trl": "TRL `SFTTrainer`",
        "trl checkpointing": "TRL, gradient checkpointing",
    }
    rows = []
    for name, label in labels.items():
        cells = [line["results"][stage][name] for stage in ("stage 1", "stage 2")]
        shown = [(f"{cell['tokens_per_second']:,}", f"{cell['peak_mib'] / 1024:.1f} GiB") for cell in cells]
        rows.append([label, *shown[0], *shown[1]])
    return rows


def passes_rows() -> Rows:
    """Both ways at each length."""
    (line,) = measured("passes")
    rows = []
    for length in line["options"]["cot"]:
        whole, read = line["results"][f"whole-graph {length}"], line["results"][f"context-read {length}"]
        rows.append(
            [
                f"{length:,}",
                *(f"{whole['seconds']:.1f} s", f"{whole['peak_mib']:,} MiB"),
                *(f"{read['seconds']:.1f} s", f"{read['peak_mib']:,} MiB"),
                short(whole["seconds"] / read["seconds"]),
            ]
        )
    return rows


def roofline() -> tuple[dict[tuple[str, str], Any], dict[str, Any]]:
    """The lines by model and way, and the ratios by model."""
    lines = measured("roofline", LAST)
    ways = {(line["model"], line["way"]): line for line in lines if "way" in line}
    return ways, {line["model"]: line["ratios"] for line in lines if "ratios" in line}


def roofline_rows() -> Rows:
    """The bounds of an H100."""
    ways, ratios = roofline()
    rows = []
    for model in ratios:
        for way in ("stage 1, 8 at a time", "stage 1, packed", "stage 2, packed"):
            found = ways[model, way]["cards"]["H100 SXM"]
            longest = {"launches": "launches"} | {name: f"the device, by {name}" for name in ("compute", "memory")}
            numbers = (f"{found['bound_ms']:.0f} ms", f"{found['mfu']:.0%}".replace("%", " %"))
            rows.append([model, way, *numbers, longest[found["dominates"]]])
    return rows


def roofline_factors() -> Rows:
    """By how much a way is faster at its bound."""
    _, ratios = roofline()
    labels = {
        "stage 2 over dense": "stage 2, against dense, 8 at a time",
        "stage 2 over every position": "stage 2, against every position, packed",
        "only read over whole graph": "context read only, against the whole graph",
    }
    cards = ("H100 SXM", "A100 80GB SXM")
    return [
        [label, card, *(f"{ratios[model][name][card]['bound']:.2f}" for model in ratios)]
        for name, label in labels.items()
        for card in cards
    ]


def score_seconds() -> Rows:
    """The medians."""
    (line,) = measured("score", LAST)
    labels = {
        "sftkey score": "`sftkey-eval score`",
        "sftkey answer": "the answer alone",
        "math-verify": "Math-Verify",
    }
    results = [(label, line["results"][name]) for name, label in labels.items()]
    return [[label, short(r["seconds"]["median"]), f"{r['rows_per_second']:,}"] for label, r in results]


def score_factors() -> Rows:
    """By how much Math-Verify takes longer."""
    (line,) = measured("score", LAST)
    labels = {"all": "all", "without_rows_at_limit": "without the rows at the limit"}
    labels |= {name: f"`{name}`" for name in line["input"]}
    factors = [line["results"][name]["times_math_verify"] for name in ("sftkey score", "sftkey answer")]
    return [[label, *(short(factor[name]["median"]) for factor in factors)] for name, label in labels.items()]


def many_rows() -> Rows:
    """Both commands at each size."""
    rows = []
    for line in measured("million", LAST):
        cells = [(f"{line[name]['seconds']:.1f} s", f"{line[name]['peak_mib']:,} MiB") for name in ("score", "report")]
        rows.append([f"{line['rows']:,}", *cells[0], *cells[1]])
    return rows


def start_rows() -> Rows:
    """The medians, with the lowest and highest."""
    (line,) = measured("start", LAST)
    labels = {"python": "Python alone", "typer": "the help of an empty program, by Typer"}
    labels["sftkey-eval score, 100 rows"] = "`sftkey-eval score` of 100 completions"
    return [
        [labels.get(name, f"`{name}`"), f"{found['median']:.2f}", f"{found['low']:.2f} to {found['high']:.2f}"]
        for name, found in line["seconds"].items()
    ]


def scaling_rows() -> Rows:
    """The two sizes beside each other."""
    sizes = sorted((m for m in measured("build") if m["tokenizer"] == "qwen2.5"), key=lambda line: line["rows"])
    two, one = ([size["results"][name] for size in sizes] for name in ("sftkey", "sftkey one worker"))
    return [
        ["whole process, 2 workers", *(f"{r['seconds']:.2f} s" for r in two)],
        ["whole process, 1 worker", *(f"{r['seconds']:.2f} s" for r in one)],
        ["peak memory of all processes, 2 workers", *(f"{r['peak_mib']} MiB" for r in two)],
        ["peak memory of all processes, 1 worker", *(f"{r['peak_mib']} MiB" for r in one)],
    ]


TABLES: dict[str, Callable[[], Rows]] = {
    "Building data": build_rows,
    "Training": train_rows,
    "A context without gradient": passes_rows,
    "What to expect of a GPU": roofline_rows,
    "What to expect of a GPU, times": roofline_factors,
    "Scoring": score_seconds,
    "Scoring, times": score_factors,
    "Many completions": many_rows,
    "Starting": start_rows,
}


def test_every_table_of_the_performance_page_is_compared() -> None:
    titles = [title for title, _ in tables_of(PERFORMANCE)]
    assert titles == [title.removesuffix(", times") for title in TABLES]


@pytest.mark.parametrize("number", range(len(TABLES)), ids=list(TABLES))
def test_a_table_says_what_was_measured(number: int) -> None:
    assert tables_of(PERFORMANCE)[number][1] == list(TABLES.values())[number]()


def test_the_table_of_the_scaling_page_says_what_was_measured() -> None:
    assert tables_of(SCALING)[0] == ("Measured", scaling_rows())


def test_figures_between_the_tables_are_those_measured() -> None:
    (train,), (score,) = measured("train"), measured("score", LAST)
    text = " ".join((ROOT / PERFORMANCE).read_text(encoding="utf-8").split())
    largest = max(line["rows"] for line in measured("build"))
    assert f"GSM8K repeated 100 times ({largest:,} rows)" in text
    operations = {stage: train["flops"][stage]["most_speed_up"] for stage in ("stage 1", "stage 2")}
    assert (
        f"saves at most {operations['stage 2']} times the operations in stage 2 and {operations['stage 1']} times in "
        "stage 1 here" in text
    )
    assert f"{score['rows']:,} real completions with {score['processes']} processes" in text
    limit = f"{score['rows_at_math_verifys_limit']} rows on which it reaches its limit of {score['limit_seconds']} s"
    assert limit in text
    turns = {name: {3: "three", 5: "five"}[found["repeats"]] for name, found in score["results"].items()}
    assert f"with {turns['math-verify']} turns of Math-Verify and {turns['sftkey answer']} of ours" in text
    hundred_thousand, million = measured("million", LAST)[1:]
    grown = (million["report"]["peak_mib"] - hundred_thousand["report"]["peak_mib"]) * 2**20
    assert f"beyond those a report takes {grown / (million['rows'] - hundred_thousand['rows']) / 1000:.1f} kB" in text
    before = next(line for line in measured("many", LAST) if line["rows"] == hundred_thousand["rows"])
    assert f"a report on {before['rows']:,} took {before['report']['peak_mib']} MiB" in text


def test_what_is_expected_of_a_gpu_is_what_was_worked_out_and_says_that_it_was_not_measured() -> None:
    ways, _ = roofline()
    assert not any(line["measured"] for line in ways.values())
    text = " ".join((ROOT / PERFORMANCE).read_text(encoding="utf-8").split())
    assert "Nothing of this section was measured: no GPU was at hand." in text
    first = ways["Qwen2.5-0.5B", "stage 1, packed"]
    assert f"({first['options']['batch_size']} examples of GSM8K, {first['tokens']:,} tokens, bf16)" in text
    assert f"the host takes {first['options']['launch_us']:.0f} µs for each" in text
    names = ("stage 2, packed, sdpa", "stage 2, packed")
    masked, flash = (ways["Qwen2.5-1.5B", way]["cards"]["H100 SXM"]["by_group_ms"]["attention"] for way in names)
    assert f"{masked:.0f} ms in place of {flash:.1f} for Qwen2.5-1.5B in stage 2" in text
    packed = [line["cards"]["H100 SXM"] for line in ways.values() if line["way"] == "stage 1, packed"]
    assert all(found["mfu"] < 0.45 for found in packed)
    for found in packed:  # "more time goes into what is done element by element … and into casts than into …"
        groups = found["by_group_ms"]
        assert groups["element by element"] + groups["casts"] > groups["matrices of layers"]


def items_to_see(difference: float, discordant: float) -> int:
    """The fewest that show a difference, by the formula that reports use; two digits of it."""
    low, high = 1, 10_000
    while low < high:
        middle = (low + high) // 2
        found = minimal_detectable_effect(middle, round(discordant * middle)) <= difference
        low, high = (low, middle) if found else (middle + 1, high)
    return int(float(f"{low:.2g}"))


def seeds_to_see(difference: float, spread: float) -> int:
    """The fewest that show a difference."""
    quantiles = ((seeds, t.isf(0.025, seeds - 1) + t.ppf(0.8, seeds - 1)) for seeds in count(2))
    return next(seeds for seeds, quantile in quantiles if quantile * spread / math.sqrt(seeds) <= difference)


def test_the_items_and_seeds_of_the_choosing_page_are_those_of_the_formulas() -> None:
    items, seeds = (rows for title, rows in tables_of(CHOOSING) if title == "How many items and seeds")
    shares, spreads = (0.05, 0.1, 0.2, 0.3), (0.01, 0.02, 0.04, 0.08)
    assert [row[1:] for row in items] == [[f"{items_to_see(d, share):,}" for d in (0.02, 0.05)] for share in shares]
    assert [row[1:] for row in seeds] == [[f"{seeds_to_see(d, s):,}" for d in (0.02, 0.05)] for s in spreads]
