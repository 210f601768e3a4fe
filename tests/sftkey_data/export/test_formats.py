import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.export.formats import SOURCE_MANIFEST, export
from sftkey_data.prepared.labels import IGNORED, LOSS_ON_REGIONS, label_column, parse_loss_on
from sftkey_data.prepared.manifest import MANIFEST, file_sha256, read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.schema import REGIONS, TOKEN_BORDERS
from sftkey_data.storage.output_folder import Folder
from sftkey_data.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from sftkey_data.view.show import region_of
from sftkey_train.recipe import LOSS_ON_WEIGHTS as RECIPE_LOSS_ON

FIXTURE = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")


def prepare(out: Path, tokenizer: Path | None, template: str = "hash") -> Path:
    """Five examples in two shards."""
    name = str(tokenizer) if tokenizer else None
    build(BuildConfig(source="gsm8k", inputs=(FIXTURE,), tokenizer=name, template=template, shard_rows=3), out)
    assert len(read_manifest(out).shards) == 2
    return out


@pytest.fixture(scope="module", params=["gpt2", "phi-3-mini"])
def straddling(request: pytest.FixtureRequest, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder whose Keys share a token with what stands before them (gpt2), or not (phi-3-mini)."""
    return prepare(tmp_path_factory.mktemp("prepared") / "hash", shared_data / "tokenizers" / request.param)


@pytest.fixture(scope="module")
def prepared(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared") / "data", shared_data / "tokenizers" / "gpt2", "sftkey")


@pytest.fixture(scope="module")
def text_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("prepared") / "text", None)


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def by_token(row: dict[str, Any], regions: tuple[str, ...]) -> list[int]:
    """Labels by looking at one token at a time."""
    return [token if region_of(row, at) in regions else IGNORED for at, token in enumerate(row["input_ids"])]


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rewrite(prepared: Path, out: Path, **columns: list[int]) -> Path:
    """A copy of a prepared folder with other values in its first shard, and a manifest that agrees with it."""
    out.mkdir()
    for name in files_below(prepared):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes((prepared / name).read_bytes())
    path = out / read_manifest(out).shards[0].file
    table = pa.ipc.open_file(path.read_bytes()).read_all()
    for name, values in columns.items():
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    manifest = json.loads((out / MANIFEST).read_text())
    manifest["shards"][0]["sha256"] = file_sha256(path)
    del manifest["digest"]
    (out / MANIFEST).write_text(json.dumps(manifest))
    return out


@pytest.mark.parametrize("loss_on", ["completion", "answer", "cot", "tag", "key", "eos", "prompt", "key,eos"])
def test_labels_equal_the_ids_exactly_on_the_chosen_regions(straddling: Path, tmp_path: Path, loss_on: str) -> None:
    import datasets

    done = export(straddling, tmp_path / "out", to="trl", loss_on=loss_on)
    rows = open_shards(straddling).to_pylist()
    exported = datasets.load_from_disk(str(tmp_path / "out"))["train"].to_list()
    expected = [by_token(row, parse_loss_on(loss_on)) for row in rows]
    assert exported == [
        {"input_ids": row["input_ids"], "labels": labels} for row, labels in zip(rows, expected, strict=True)
    ]
    assert done.tokens == sum(len(row["input_ids"]) for row in rows)
    assert done.target_tokens == sum(label != IGNORED for labels in expected for label in labels)
    assert done.longest == max(len(row["input_ids"]) for row in rows)


def test_a_token_that_straddles_the_start_of_the_key_is_a_label(shared_data: Path, tmp_path: Path) -> None:
    folder = prepare(tmp_path / "hash", shared_data / "tokenizers" / "gpt2")
    export(folder, tmp_path / "out", to="axolotl", loss_on="key")
    decode = load_tokenizer(str(tmp_path / "out" / "tokenizer")).decode
    labels = pq.read_table(tmp_path / "out" / "data-00000.parquet")["labels"].to_pylist()
    assert [decode([label for label in row if label != IGNORED]) for row in labels] == [" 48", " 2,000", " -5"]


def test_the_words_mean_what_they_mean_in_a_recipe() -> None:
    for word, weights in RECIPE_LOSS_ON.items():
        assert parse_loss_on(word) == tuple(name for name, weight in weights.model_dump().items() if weight)
    assert parse_loss_on("eos, cot") == ("cot", "eos")
    assert set(LOSS_ON_REGIONS) | set(REGIONS) >= set(RECIPE_LOSS_ON)


def batch(lengths: list[list[int]]) -> pa.RecordBatch:
    """Examples by the number of tokens in each of their six segments."""
    borders = [[sum(row[: count + 1]) for row in lengths] for count in range(6)]
    tokens = iter(range(10_000))
    columns = {
        "id": pa.array([f"row/{i}" for i in range(len(lengths))]),
        "input_ids": pa.array([[next(tokens) for _ in range(total)] for total in borders[5]], pa.list_(pa.int32())),
    }
    columns |= {name: pa.array(border, pa.int32()) for name, border in zip(TOKEN_BORDERS, borders, strict=False)}
    return pa.record_batch(columns)


# A prompt of a token at least, then regions of any size, and one EOS.
SEGMENT_LENGTHS = st.tuples(st.integers(1, 4), *[st.integers(0, 4)] * 4, st.just(1)).map(list)


@given(
    lengths=st.lists(SEGMENT_LENGTHS, min_size=1, max_size=5),
    regions=st.sets(st.sampled_from(REGIONS)).map(lambda chosen: (*chosen, "eos")),
    skipped=st.integers(0, 4),
)
def test_labels_of_any_borders_in_any_slice_are_those_of_one_token_at_a_time(
    lengths: list[list[int]], regions: tuple[str, ...], skipped: int
) -> None:
    part = batch(lengths).slice(min(skipped, len(lengths) - 1))
    assert label_column(part, regions).to_pylist() == [by_token(row, regions) for row in part.to_pylist()]


@pytest.mark.parametrize(
    ("first", "regions"),
    [([3, 2, 0, 1, 0, 1], ("tag",)), ([1, 2, 0, 1, 0, 1], ("prompt",)), ([0, 1, 0, 1, 0, 1], ("cot",))],
    ids=["no-token-of-the-region", "only-the-first-token", "only-the-first-token-without-a-prompt"],
)
def test_an_example_that_would_train_on_nothing_is_named(first: list[int], regions: tuple[str, ...]) -> None:
    good = [3, 2, 2, 1, 2, 1]
    label_column(batch([good, good]), regions)
    with pytest.raises(SFTKeyError, match=rf"^example row/1: none of its tokens is in {regions[0]}"):
        label_column(batch([good, first, good, first]), regions)


def test_an_example_without_a_target_stops_the_export_and_leaves_nothing(prepared: Path, tmp_path: Path) -> None:
    rows = open_shards(prepared).to_pylist()[:3]
    ends = [row["answer_token_end"] for row in rows]
    ends[1] = len(rows[1]["input_ids"])
    folder = rewrite(prepared, tmp_path / "in", answer_token_end=ends)
    with pytest.raises(SFTKeyError, match="example gsm8k/train/1: none of its tokens is in eos"):
        export(folder, tmp_path / "out", to="trl", loss_on="eos")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_borders_out_of_order_are_named(prepared: Path, tmp_path: Path) -> None:
    starts = [row["key_token_start"] for row in open_shards(prepared).to_pylist()[:3]]
    folder = rewrite(prepared, tmp_path / "in", key_token_start=[*starts[:2], starts[2] + 50])
    with pytest.raises(SFTKeyError, match="example gsm8k/train/2: token borders out of order: "):
        export(folder, tmp_path / "out", to="axolotl")


@pytest.mark.parametrize("source", ["prepared", "text_only"])
def test_parquet_and_jsonl_hold_what_the_shards_hold(
    request: pytest.FixtureRequest, tmp_path: Path, source: str
) -> None:
    folder = request.getfixturevalue(source)
    table = open_shards(folder)
    export(folder, tmp_path / "p", to="parquet")
    files = [tmp_path / "p" / f"data-0000{number}.parquet" for number in (0, 1)]
    assert pa.concat_tables(map(pq.read_table, files)).equals(table)
    export(folder, tmp_path / "j", to="jsonl")
    lines = [(tmp_path / "j" / f"data-0000{number}.jsonl").read_text().splitlines() for number in (0, 1)]
    assert [len(part) for part in lines] == [3, 2]
    assert [json.loads(line) for part in lines for line in part] == table.to_pylist()


@pytest.mark.usefixtures("_own_cache")
@pytest.mark.parametrize("to", ["trl", "axolotl", "parquet", "jsonl"])
def test_every_form_opens_by_the_name_of_its_folder(prepared: Path, tmp_path: Path, to: str) -> None:
    import datasets

    export(prepared, tmp_path / "out", to=to)
    opened = datasets.load_dataset(str(tmp_path / "out"), split="train")
    assert opened["input_ids"][:] == open_shards(prepared)["input_ids"].to_pylist()


@pytest.mark.usefixtures("_own_cache")
def test_the_axolotl_configuration_loads_as_axolotl_does_it(prepared: Path, tmp_path: Path) -> None:
    import datasets

    export(prepared, tmp_path / "out", to="axolotl", loss_on="answer")
    settings = yaml.safe_load((tmp_path / "out" / "axolotl.yaml").read_text())
    rows = open_shards(prepared).to_pylist()
    assert settings["sequence_len"] == max(len(row["input_ids"]) for row in rows)
    [source] = settings["datasets"]
    assert source["type"] is None
    with pytest.raises(FileNotFoundError):  # axolotl tries this first, and goes on
        datasets.load_from_disk(source["path"])
    opened = datasets.load_dataset(source["path"], split=source["split"])
    assert opened.column_names == ["input_ids", "attention_mask", "labels"]
    for example, row in zip(opened.to_list(), rows, strict=True):
        assert example["attention_mask"] == [1] * len(row["input_ids"])
        assert example["labels"] == by_token(row, ("tag", "key", "eos"))
    load_tokenizer(settings["tokenizer_config"])


@pytest.mark.parametrize("to", ["jsonl", "parquet"])
def test_a_loaded_export_has_the_types_and_rows_of_the_shards(prepared: Path, tmp_path: Path, to: str) -> None:
    export(prepared, tmp_path / "out", to=to)
    loaded = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    shards = open_shards(prepared)
    assert loaded.features.arrow_schema.types == shards.schema.types
    assert loaded.to_list() == shards.to_pylist()


@pytest.mark.parametrize("to", ["trl", "parquet"])
def test_card_tokenizer_and_source_manifest_lie_beside_the_files(prepared: Path, tmp_path: Path, to: str) -> None:
    export(prepared, tmp_path / "out", to=to)
    assert (tmp_path / "out" / SOURCE_MANIFEST).read_bytes() == (prepared / MANIFEST).read_bytes()
    recorded = read_manifest(prepared).tokenizer
    assert recorded is not None
    assert tokenizer_fingerprint(load_tokenizer(str(tmp_path / "out" / "tokenizer"))) == recorded.fingerprint
    assert f"exported from SFTKey shards as {to}" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(SFTKeyError, match=r"no manifest\.json"):
        read_manifest(tmp_path / "out")


def test_two_exports_have_the_same_bytes_and_a_remote_one_too(prepared: Path, tmp_path: Path) -> None:
    outs = [str(tmp_path / "a"), str(tmp_path / "b"), "memory://exports/c"]
    for out in outs:
        export(prepared, out, to="trl")
    names = Folder(outs[0]).names()
    assert "train/data-00001.arrow" in names
    for out in outs[1:]:
        assert Folder(out).names() == names
        for name in set(names) - {"README.md"}:  # it names the folder
            assert Folder(out).read_bytes(name) == Folder(outs[0]).read_bytes(name)
    assert Folder("memory://exports/c.partial").names() == []


def test_a_damaged_shard_is_not_exported(prepared: Path, tmp_path: Path) -> None:
    folder = rewrite(prepared, tmp_path / "in")
    shard = folder / read_manifest(folder).shards[1].file
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(SFTKeyError, match=r"data-00001\.arrow: hash .* differs"):
        export(folder, tmp_path / "out", to="jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_there_stays_unless_told(prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(prepared, out, to="jsonl")
    before = files_below(out)
    with pytest.raises(SFTKeyError, match=r"is not empty.*--overwrite"):
        export(prepared, out, to="trl")
    assert files_below(out) == before
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / ".sftkey").touch()
    (tmp_path / "out.partial" / "data-00009.arrow").write_text("of an export that was killed")
    export(prepared, out, to="trl", overwrite=True)
    assert "data-00000.jsonl" not in files_below(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not [name for name in files_below(out) if "00009" in name or "partial" in name]


@pytest.mark.parametrize("inside", ["", ".."])
def test_the_prepared_folder_itself_is_never_overwritten(prepared: Path, inside: str) -> None:
    before = files_below(prepared)
    with pytest.raises(SFTKeyError, match="holds the prepared folder"):
        export(prepared, prepared / inside, to="jsonl", overwrite=True)
    assert files_below(prepared) == before


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"to": "parket"}, "--to 'parket': expected trl, axolotl, parquet, jsonl (did you mean 'parquet'?)"),
        ({"to": "trl", "loss_on": "keys"}, "--loss-on 'keys': unknown word 'keys' (did you mean 'key'?)"),
        ({"to": "trl", "loss_on": "key,"}, "--loss-on 'key,': unknown word ''"),
        ({"to": "jsonl", "loss_on": "key"}, "--loss-on chooses labels, and jsonl has none"),
    ],
)
def test_wrong_words_fail_before_the_first_row(
    prepared: Path, tmp_path: Path, values: dict[str, str], expected: str
) -> None:
    with pytest.raises(SFTKeyError) as raised:
        export(prepared, tmp_path / "out", **values)
    assert str(raised.value).startswith(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("to", ["trl", "axolotl"])
def test_a_folder_without_tokens_cannot_become_labels(text_only: Path, tmp_path: Path, to: str) -> None:
    with pytest.raises(SFTKeyError, match=f"holds no tokens, and {to} needs them: expected a build with --tokenizer"):
        export(text_only, tmp_path / "out", to=to)


def test_the_command_says_what_carries_loss(prepared: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sftkey_data.cli", "export", str(prepared), "--to", "trl", "--out", "out"]
    done = subprocess.run([*command, "--loss-on", "key"], capture_output=True, text=True, cwd=tmp_path, check=False)
    rows = open_shards(prepared).to_pylist()
    keys = sum(row["key_token_end"] - row["key_token_start"] for row in rows)
    tokens = sum(len(row["input_ids"]) for row in rows)
    assert done.returncode == 0
    assert f"out: 5 examples in 2 files, loss on {keys} of {tokens} tokens (key)\n" in done.stderr
    assert (json.loads(done.stdout)["tokens"], json.loads(done.stdout)["target_tokens"]) == (tokens, keys)
    again = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("error: output folder out is not empty")
