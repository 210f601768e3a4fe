"""`push` of the three programs, to a small hub on loopback."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub
from huggingface_hub import constants
from typer.testing import CliRunner

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.cli import app as data_program
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage.sealed_json import read_sealed, write_sealed
from sftkey_eval.cli import app as eval_program
from sftkey_train.cli import app as train_program

ROOT = Path(__file__).resolve().parents[1]
SAFE = {"HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_test", "HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The client of this process knows this hub only."""
    served = Hub()
    for name, value in (SAFE | {"HF_ENDPOINT": served.url, "HF_HOME": str(tmp_path / "hf")}).items():
        monkeypatch.setenv(name, value)
    # Where another test has imported it, it has read its environment already.
    for name, setting in {"HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False, "ENDPOINT": served.url}.items():
        monkeypatch.setattr(constants, name, setting)
    yield served
    served.server.shutdown()
    served.server.server_close()


def push(program: Any, *arguments: object) -> dict[str, Any]:
    done = CliRunner().invoke(program, ["push", *map(str, arguments)])
    if done.exception:
        raise done.exception
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.fixture
def data(tmp_path: Path) -> Path:
    config = BuildConfig(source="arithmetic", options={"num": 30}, shard_rows=20)
    build(config, tmp_path / "data")
    return tmp_path / "data"


def test_a_prepared_folder_goes_with_its_card_and_nothing_else(hub: Hub, data: Path) -> None:
    (data / "notes.txt").write_text("mine")
    said = push(data_program, data, "me/sums", "--private")
    names = {"README.md", "data-00000.arrow", "data-00001.arrow", "manifest.json", "rejects.jsonl"}
    there = hub.branches["me/sums", "main"]
    assert set(there) == names | {".gitattributes"}
    assert {name: there[name] for name in names} == {name: (data / name).read_bytes() for name in names}
    assert (set(said["files"]), said["removed"], said["kind"]) == (names, [], "dataset")
    assert [(one["type"], one["visibility"]) for one in hub.created] == [("dataset", "private")]
    assert hub.tokens == {"Bearer hf_test"}
    assert hub.commits == 1


def test_shards_of_an_earlier_version_are_gone_and_a_branch_is_apart(hub: Hub, data: Path, tmp_path: Path) -> None:
    push(data_program, data, "me/sums")
    build(BuildConfig(source="arithmetic", options={"num": 10}), tmp_path / "small")
    push(data_program, tmp_path / "small", "me/sums", "--revision", "small")
    assert "data-00001.arrow" in hub.branches["me/sums", "main"]
    assert "data-00001.arrow" not in hub.branches["me/sums", "small"]
    assert push(data_program, tmp_path / "small", "me/sums")["removed"] == ["data-00001.arrow"]
    assert "data-00001.arrow" not in hub.branches["me/sums", "main"]


def test_a_dry_run_sends_nothing(hub: Hub, data: Path) -> None:
    said = push(data_program, data, "me/sums", "--dry-run")
    assert said["dry_run"] is True
    assert "data-00000.arrow" in said["files"]
    assert (hub.branches, hub.tokens) == ({}, set())


def test_a_repository_of_somebody_elses_is_refused(hub: Hub, data: Path) -> None:
    hub.branches["me/sums", "main"] = {".gitattributes": b"", "README.md": b"", "data-00009.arrow": b"theirs"}
    with pytest.raises(SFTKeyError, match=r"found data-00009\.arrow and no manifest\.json: name another"):
        push(data_program, data, "me/sums")
    assert hub.branches["me/sums", "main"]["data-00009.arrow"] == b"theirs"
    assert hub.commits == 0


@pytest.mark.parametrize("damage", ["changed", "missing", "not listed"])
def test_a_damaged_folder_is_refused_before_anything_is_sent(damage: str, hub: Hub, data: Path) -> None:
    shard = data / "data-00000.arrow"
    if damage == "not listed":
        shutil.copyfile(shard, data / "data-00002.arrow")
    elif damage == "changed":
        content = bytearray(shard.read_bytes())
        content[len(content) // 2] ^= 1
        shard.write_bytes(content)
    else:
        shard.unlink()
    with pytest.raises(SFTKeyError, match=r"data-0000\d\.arrow"):
        push(data_program, data, "me/sums")
    assert hub.tokens == set()


def test_what_the_hub_refuses_and_no_hub_are_one_line(hub: Hub, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.refuses = True
    with pytest.raises(Interrupted, match=r"hub repository me/sums: .*You may not write here") as caught:
        push(data_program, data, "me/sums")
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Interrupted, match=r"hub repository me/sums: no answer \(ConnectError"):
        push(data_program, data, "me/sums")
    with pytest.raises(SFTKeyError, match=r"repository 'a/b/c': expected OWNER/NAME"):
        push(data_program, data, "a/b/c")


def test_a_name_that_leads_out_of_the_folder_is_refused(hub: Hub, tmp_path: Path) -> None:
    final = trained(tmp_path / "key" / "final")
    (tmp_path / "key" / "secret.json").write_text("{}")
    origin = read_sealed(final / "origin.json", "")
    origin["files"]["../secret.json"] = origin["files"]["config.json"]  # of the same content
    write_sealed(final / "origin.json", origin)
    with pytest.raises(SFTKeyError, match=r"'\.\./secret\.json' leads out of the folder"):
        push(train_program, final, "me/model")
    assert hub.tokens == set()


def trained(folder: Path, **changes: Any) -> Path:
    """A finished model as a stage leaves it: the files, their hashes, the recipe."""
    from sftkey_train.checkpoint.origin import Origin, write_origin

    (folder / "adapter").mkdir(parents=True)
    stage = {"name": "key", "data": None, "weights": {"key": 40}, "loss_on": None, "normalisation": "token"}
    recipe = {"name": "sums", "seed": 3, "data": "a/b/train", "model": {"path": "me/base"}, "lora": {"rank": 4}}
    recipe |= {"stage": [stage | {"token_loss": "nll"}]}
    files = {"recipe.json": json.dumps(recipe | changes), "config.json": "{}", "model.safetensors": "weights"}
    for name, text in (files | {"adapter/adapter_config.json": "{}"}).items():
        (folder / name).write_text(text)
    write_origin(folder, Origin("run", "key"))
    return folder


def test_a_model_goes_with_a_card_of_its_recipe_and_without_what_it_was_not_written_with(
    hub: Hub, tmp_path: Path
) -> None:
    final = trained(tmp_path / "key" / "final")
    (final / "optimizer.pt").write_bytes(b"state")
    push(train_program, final, "me/model")
    there = hub.branches["me/model", "main"]
    names = {"recipe.json", "config.json", "model.safetensors", "adapter/adapter_config.json", "origin.json"}
    assert set(there) == names | {"README.md", ".gitattributes"}
    card = there["README.md"].decode()
    for said in ('base_model: "me/base"', "# sums: key", "| Data | train |", '{"key": 40}', "seed 3"):
        assert said in card
    assert hub.created[0]["type"] == "model"
    (final / "model.safetensors").write_text("other")
    with pytest.raises(SFTKeyError, match=r"model\.safetensors is not as it was written"):
        push(train_program, final, "me/model")


def test_a_checkpoint_and_a_base_on_a_disk_are_no_models_of_a_hub(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    with pytest.raises(SFTKeyError, match=r"expected the `final` or `best-STEP` of a stage"):
        push(train_program, tmp_path / "checkpoint-5", "me/model")
    push(train_program, trained(tmp_path / "final", model={"path": "/models/base"}), "me/model")
    assert "base_model" not in hub.branches["me/model", "main"]["README.md"].decode()


@pytest.mark.slow
def test_a_run_and_a_report_go_with_the_reports_text_as_card(hub: Hub, tmp_path: Path) -> None:
    from sftkey_eval.report.report import report
    from sftkey_eval.scoring.score import score_file

    run = tmp_path / "run"
    run.mkdir()
    text = "<Thinking>\n2 + 2 = 4\n</Thinking>\n<Answer>\n4\n</Answer>"
    rows = [{"id": str(n), "completion": text, "gold": gold} for n, gold in enumerate(("4", "5"))]
    (run / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_file(run / "completions.jsonl", run / "verdicts.parquet")
    report([str(run)], run / "report")
    for name in ("completions.jsonl.partial", "verdicts.judge.sqlite", ".sftkey", "report/mine.txt"):
        (run / name).write_text("x")
    push(eval_program, run, "me/run")
    there = hub.branches["me/run", "main"]
    assert {name for name in there if "/" not in name} == {
        ".gitattributes", "README.md", "completions.jsonl", "verdicts.parquet"
    }  # fmt: skip
    assert {"report/report.html", "report/report.json", "report/tables/headline.csv", "report/plots/rates.png"} <= {
        *there
    }
    assert "report/mine.txt" not in there
    card = there["README.md"].decode()
    assert "path: verdicts.parquet" in card
    assert "](report/plots/rates.png)" in card
    assert "# Evaluation report" in card
    push(eval_program, run / "report", "me/report")
    assert "](plots/rates.png)" in hub.branches["me/report", "main"]["README.md"].decode()
    with pytest.raises(SFTKeyError, match=r"found no report\.md or compare\.md, expected a folder that"):
        push(eval_program, tmp_path, "me/report")


def test_pushed_by_the_program_itself_data_loads_again(hub: Hub, data: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sftkey_data.cli", "push", str(data), "me/sums"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert (done.returncode, json.loads(done.stdout)["repo"]) == (0, "me/sums"), done.stderr
    from sftkey_data.verify.check import check

    for name, content in hub.branches["me/sums", "main"].items():
        (tmp_path / "back" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "back" / name).write_bytes(content)
    assert check(tmp_path / "back").counts.written == 30
