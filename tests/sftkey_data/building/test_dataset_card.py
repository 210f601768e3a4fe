from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard
from page_samples import prepared_folder

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.dataset_card import dataset_card, origin
from sftkey_data.building.plan import make_plan
from sftkey_data.building.preview import first_example
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.registry import builtin_names

GSM8K = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")


@pytest.fixture(scope="module")
def config() -> BuildConfig:
    return BuildConfig(source="gsm8k", inputs=(GSM8K,))


@pytest.fixture(scope="module")
def card(config: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("card") / "out"
    build(config, out)
    return dataset_card(read_manifest(out), first_example(make_plan(config)))


def test_the_front_matter_is_the_hubs(card: str) -> None:
    data = DatasetCard(card).data.to_dict()
    assert data["license"] == "mit"
    assert data["size_categories"] == ["n<1K"]
    assert data["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data-*.arrow"}]}]


def test_the_card_names_source_licence_key_share_and_an_example(card: str) -> None:
    assert "Source: Cobbe et al. 2021" in card
    assert "hub id openai/gsm8k, subset `main`.\n" in card.replace("\\", "")
    assert "Licence: MIT.\n" in card
    assert "Key share: " in card
    assert "its Key is `48`" in card
    assert "<Answer>\n48\n</Answer>" in card
    assert "sftkey-data check DIR --full" in card


def test_a_folder_loads_by_its_name_as_the_card_says(config: BuildConfig, tmp_path: Path) -> None:
    import datasets

    build(config, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    (tmp_path / "out" / "README.md").write_text(dataset_card(manifest, first_example(make_plan(config))))
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["id"][:] == open_shards(tmp_path / "out")["id"].to_pylist()


def test_a_folder_of_two_splits_loads_too(config: BuildConfig, tmp_path: Path) -> None:
    import datasets

    (tmp_path / "test.jsonl").write_text(Path(GSM8K).read_text())
    build(replace(config, inputs=(GSM8K, str(tmp_path / "test.jsonl")), split="train+test"), tmp_path / "out")
    loaded = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert set(loaded["split"]) == {"train+test"}
    assert 'split="train")  # this folder' in (tmp_path / "out" / "README.md").read_text()


def test_the_first_example_is_the_first_row_of_the_shards(config: BuildConfig, tmp_path: Path) -> None:
    build(config, tmp_path / "out")
    assert first_example(make_plan(config)) == open_shards(tmp_path / "out").slice(0, 1).to_pylist()[0]


def test_straddles_are_counted_and_a_machines_path_is_not_told(tmp_path: Path, shared_data: Path) -> None:
    out = prepared_folder(tmp_path, str(shared_data / "tokenizers" / "gpt2"), template="plain")
    manifest = read_manifest(out)
    card = dataset_card(manifest)
    assert f"| key start | {manifest.statistics['straddle']['key_start']} |" in card
    assert "| prompt not prefix | 0 |" in card
    assert "tokenizer: gpt2 (copied" in card
    assert "| empty\\_key | 1 |" in card


def test_text_cannot_leave_its_fence_or_its_cell(config: BuildConfig, tmp_path: Path) -> None:
    build(config, tmp_path / "out")
    manifest = read_manifest(tmp_path / "out").model_copy(update={"rejects": {"a|b\n# c": 1}})
    example = {"prompt": "q\n```\n# title\n", "completion": "x" * 5000, "gold": "a`b"}
    card = dataset_card(manifest, example)
    assert "\n````\nq\n```\n# title\n" in card
    assert "characters left out" in card
    assert "its Key is `` a`b ``:" in card
    assert "| a\\|b \\# c | 1 |" in card


@pytest.mark.parametrize("name", builtin_names())
def test_every_built_in_dataset_has_a_licence_line(name: str) -> None:
    facts = origin(name)
    assert facts["description"].strip()
    assert facts["licence"].strip()


def test_a_users_file_tells_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text('"""Mine: things.\n\nSource: me,\nwritten here. Licence: CC BY-SA 4.0.\n"""\nraise SystemExit\n')
    expected = {"description": "Mine: things.", "source": "me, written here", "licence": "CC BY-SA 4.0"}
    assert origin(str(path)) == expected
    assert origin("./mine.toml") == {}
