"""`--plan`: every run, what is done, and estimates that are near what the runs then cost."""

import sys
from pathlib import Path

import pytest
from studies import finished, tables, write

from sftkey_train.cli import main
from sftkey_train.study.plan_lines import plan_lines
from sftkey_train.study.study_runner import open_study


def lines(path: Path, only: tuple[str, ...] = (), seeds: str | None = None) -> list[list[str]]:
    return [line.split() for line in plan_lines(open_study(path), only, seeds)]


def test_a_plan_writes_nothing_and_names_every_run(tmp_path: Path) -> None:
    path = write(tmp_path / "study.toml", tables(tmp_path / "out"))
    _, _, *runs, rest, completions = lines(path)
    assert [run[:6] for run in runs] == [
        ["sums", seed, role, arm, "to", "do"]
        for seed, role in (("0", "claim"), ("7", "tuning"))
        for arm in ("stage1", "continued", "sftkey")
    ]
    assert " ".join(rest).startswith("6 runs: 0 done, 0 begun, 6 to do; to train: 28 steps, ")
    assert " ".join(completions) == "to generate: 84 completions"  # 3 x (8 + 12) + 3 x 8
    assert not (tmp_path / "out").exists()


def test_what_follows_a_plan_is_what_it_was_the_plan_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "study.toml", tables(tmp_path / "out"))
    command = ["sftkey-train", "study", str(path), "--only", "sftkey", "--seeds", "0:1"]
    monkeypatch.setattr(sys, "argv", [*command, "--plan"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().err.splitlines()[-1] == f"next: {' '.join(command)}"


def test_a_plan_of_one_dataset_has_its_runs_alone(tmp_path: Path) -> None:
    study = tables(tmp_path / "out")
    study["datasets"]["more"] = study["datasets"]["sums"]
    path = write(tmp_path / "study.toml", study)
    _, _, *runs, rest, _ = plan_lines(open_study(path), ["sftkey"], "0:1", ["more"])
    assert [run.split()[:4] for run in runs] == [["more", "0", "claim", arm] for arm in ("stage1", "sftkey")]
    assert rest.startswith("2 runs: 0 done, ")


def test_a_plan_knows_what_is_done_begun_and_of_other_settings(tmp_path: Path) -> None:
    study = tables(tmp_path / "out")
    path = write(tmp_path / "study.toml", study)
    finished(path, only=["sftkey"], seeds="0:1")
    (folder,) = tmp_path.glob("out/runs/sums/seed-0/sftkey-*")
    (folder / "result.json").unlink()
    _, _, *runs, rest, _ = lines(path, seeds="0:1")
    assert [" ".join(run[4:6]) for run in runs] == ["done 6", "to do", "begun 4"]
    assert " ".join(rest).startswith("3 runs: 1 done, 1 begun, 1 to do; ")
    study["arms"]["sftkey"]["lr"] = 2e-3
    assert (
        " ".join(lines(write(path, study))[-1]) == "runs of other settings that lie beside these, left as they are: 1"
    )


@pytest.mark.slow
def test_estimates_are_near_what_the_runs_cost(tmp_path: Path) -> None:
    study = tables(tmp_path / "out") | {"seeds": {"claim": [0]}}
    study["arms"] = {"continued": {}, "sftkey": {}, "anchored": {}, "lora_stage2": {}, "key_tag": {}}
    path = write(tmp_path / "study.toml", study)
    _, _, *runs, _, _ = lines(path)
    estimated = {run[3]: [float(figure.replace(",", "")) for figure in run[-4:]] for run in runs}
    for result in finished(path):
        cost = [result[name] for name in ("steps", "tokens", "supervised_tokens", "flops")]
        assert cost == pytest.approx(estimated[result["arm"]], rel=0.1)
