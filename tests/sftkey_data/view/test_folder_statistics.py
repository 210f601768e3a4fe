import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_samples import ROWS, prepared_folder

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.view import folder_statistics
from sftkey_data.view.folder_statistics import as_text, draw, read_statistics


@pytest.fixture(scope="module", params=["gpt2", None], ids=["tokens", "characters"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = None
    if request.param is not None:
        tokenizer = str(request.getfixturevalue("shared_data") / "tokenizers" / request.param)
    return prepared_folder(tmp_path_factory.mktemp("stats"), tokenizer, template="plain")


def test_lengths_agree_with_the_rows_one_by_one(folder: Path) -> None:
    found, rows = read_statistics(folder), open_shards(folder).to_pylist()
    wanted: dict[str, list[Any]] = {name: [] for name in ("example", "completion", "cot", "key")}
    for row in rows:
        if found.unit == "tokens":
            tokens, prompt = len(row["input_ids"]), row["prompt_tokens"]
            sizes = (tokens, tokens - prompt, row["cot_token_end"] - prompt)
            key = row["key_token_end"] - row["key_token_start"]
        else:
            prompt, completion = len(row["prompt"]), len(row["completion"])
            sizes, key = (prompt + completion, completion, row["cot_end"] - row["cot_start"]), len(row["gold"])
        for name, size in zip(wanted, (*sizes, key), strict=True):
            wanted[name].append(size)
    assert {name: getattr(found, name).tolist() for name in wanted} == wanted
    assert found.key_share.tolist() == [k / c for k, c in zip(wanted["key"], wanted["completion"], strict=True)]
    assert found.cot_ratio.tolist() == [c / k for c, k in zip(wanted["cot"], wanted["key"], strict=True)]


def test_quantiles_and_counts_agree_with_the_manifest(folder: Path) -> None:
    found, manifest = read_statistics(folder), read_manifest(folder)
    for name, values in (("example", found.example), ("completion", found.completion), ("key", found.key)):
        recorded = manifest.statistics[f"{name}_length"]
        assert (recorded["min"], recorded["max"]) == (values.min(), values.max())
        assert recorded["p50"] == np.quantile(values, 0.5, method="inverted_cdf")
        assert recorded["mean"] == pytest.approx(values.mean(), abs=1e-3)
    assert found.key.sum() / found.completion.sum() == pytest.approx(manifest.statistics["key_share"], abs=1e-6)
    if found.unit == "tokens":
        assert found.straddles == manifest.statistics["straddle"]
        assert found.straddles["key_start"] > 0


def test_the_table_says_everything_by_name(folder: Path) -> None:
    found = read_statistics(folder)
    lines = as_text(found).splitlines()
    cells = {line.split("  ")[0]: line.split() for line in lines if line}
    assert lines[1] == "8 read, 6 written, 2 rejected"
    assert cells["example"][-1] == str(found.example.max())
    assert cells["Key"][1] == f"{found.key.mean():.2f}"
    assert cells["CoT/Key ratio"][-1] == f"{found.cot_ratio.max():.1f}"
    assert cells["empty_key"] == ["empty_key", "1", "12.50%"]
    assert sum(int(cells[reason][1]) for reason in found.manifest.rejects) == 2
    assert ("key_start" in cells) == ("prompt_not_prefix" in cells) == (found.unit == "tokens")


def test_shares_stay_at_each_row_over_many_shards(tmp_path: Path) -> None:
    options = {"num": "1000"}
    build(BuildConfig(source="arithmetic", options=options, shard_rows=300), tmp_path / "out")
    found = read_statistics(tmp_path / "out")
    assert len(read_manifest(tmp_path / "out").shards) == 4
    assert found.key.tolist() == [len(gold) for gold in open_shards(tmp_path / "out")["gold"].to_pylist()]
    assert "none                 0    0.00%" in as_text(found)


def test_the_plot_is_a_png_of_four_panels_that_differs_with_the_data(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib import image

    found = read_statistics(folder)
    draw(found, tmp_path / "stats.png")
    pixels = image.imread(io.BytesIO((tmp_path / "stats.png").read_bytes()), format="png")[..., :3]
    height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
    for quarter in (pixels[:height, :width], pixels[:height, width:], pixels[height:, :width], pixels[height:, width:]):
        coloured = quarter.max(axis=2) - quarter.min(axis=2) > 0.2
        assert coloured.mean() > 0.001
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stats.png"]


def test_a_plot_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(SFTKeyError, match=r"--plot .*stats\.png cannot be written"):
        draw(read_statistics(folder), tmp_path / "missing" / "stats.png")


def test_a_sample_row_is_longest_where_it_should_be(folder: Path) -> None:
    assert int(read_statistics(folder).example.argmax()) == max(range(len(ROWS)), key=lambda i: len(ROWS[i]["c"]))


def test_the_plot_names_the_medians_of_the_table_and_counts_at_whole_numbers(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    rows = [{"q": "What?", "c": "x" * size, "k": "7", "t": "number"} for size in (10, 20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"prompt": "q", "cot": "c", "key": "k"}
    build(BuildConfig(source="columns", inputs=(str(tmp_path / "rows.jsonl"),), options=options), tmp_path / "out")
    found = read_statistics(tmp_path / "out")
    cells = {line.split("  ")[0]: line.split() for line in as_text(found).splitlines() if line}
    figure = Figure(figsize=(10.5, 7))
    lengths, share, ratio, rejects = figure.subplots(2, 2).flat
    folder_statistics._draw_lengths(lengths, found)
    folder_statistics._draw_ratio(ratio, found)
    folder_statistics._draw_share(share, found)
    folder_statistics._draw_rejects(rejects, found.manifest.model_copy(update={"rejects": {"empty_key": 2}}))
    median = cells["CoT"][1 + 1 + list(folder_statistics.TABLE_QUANTILES).index("p50")]
    assert f"CoT: median {median}" in [text.get_text() for text in lengths.get_legend().get_texts()]
    assert ratio.get_legend().get_texts()[0].get_text() == f"median: {cells['CoT/Key ratio'][4]}"
    for axis in (ratio.yaxis, share.yaxis, rejects.xaxis):
        low, high = sorted(axis.get_view_interval())
        ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
        labels = axis.get_major_formatter().format_ticks(ticks)
        assert len(labels) >= 2
        assert len(set(labels)) == len(labels)
