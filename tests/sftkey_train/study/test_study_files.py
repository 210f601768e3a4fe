"""The ready studies are planned on tiny stand-ins for the models and the prepared folders that they name."""

from pathlib import Path

import pytest
from studies import SIZES, tables, write

from sftkey_train.study.named_arms import study_arms
from sftkey_train.study.plan_lines import plan_lines
from sftkey_train.study.study_file import PARTS, Study, load_study
from sftkey_train.study.study_runner import open_study
from sftkey_train.study.study_sets import make_sets

FOLDER = Path(__file__).resolve().parents[3] / "train" / "recipes" / "studies"
FILES = sorted(FOLDER.glob("*.toml"))
NAMES = [path.stem for path in FILES]
QUICK = ("own_data", "paper_qwen2.5-1.5b")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train`, `validation` and `test`, prepared, and `model`, all tiny."""
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("stand-ins")
    study = load_study(write(folder / "study.toml", tables(folder / "out")))
    for part, path in make_sets(study, folder)["sums"].folders.items():
        (folder / part).symlink_to(path, target_is_directory=True)
    LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=512, max_position_embeddings=256)).save_pretrained(
        folder / "model"
    )
    return folder


def put_in_place(study: Study, stand_ins: Path, here: Path) -> None:
    """What the study names, relative to where the command runs."""
    named = {Path(study.model.path): "model"} if study.model.path is not None else {}
    for study_set in study.datasets.values():
        folders = {getattr(study_set, part): part for part in PARTS}
        named |= {folder: part for folder, part in folders.items() if folder is not None}
    for path, stand_in in named.items():
        assert not path.is_absolute()
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        (here / path).symlink_to(stand_ins / stand_in, target_is_directory=True)


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_ready_study_has_the_control(path: Path) -> None:
    assert "continued" in open_study(path).arms


@pytest.mark.parametrize("name", QUICK)
def test_a_ready_study_plans_its_control(
    name: str, stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FOLDER / f"{name}.toml"
    study = load_study(path)
    put_in_place(study, stand_ins, tmp_path)
    monkeypatch.chdir(tmp_path)
    first = study.seeds.claim[0]
    _, _, *runs, to_train, _ = plan_lines(open_study(path, ["continued"]), ["continued"], f"{first}:{first + 1}")
    assert len(runs) == 2 * len(study.datasets)
    assert to_train.startswith(f"{len(runs)} runs: 0 done, ")


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_a_ready_study_plans_all_its_runs(
    path: Path, stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(path)
    put_in_place(study, stand_ins, tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = list(plan_lines(open_study(path)))
    arms = study_arms(study, str(path)).values()
    starts = (len(study.seeds.claim) + len(study.seeds.tuning)) * len(study.datasets)
    samplings = starts if any(arm.own for arm in arms) else 0  # of the words of each stage 1
    assert len(lines) == 2 + starts * len(arms) + samplings + 2 + bool(samplings)
    assert any(line.startswith(f"{starts * len(arms)} runs: 0 done, ") for line in lines)


def test_ones_own_data_take_ten_lines() -> None:
    lines = (FOLDER / "own_data.toml").read_text().splitlines()
    assert len([line for line in lines if line and not line.startswith("#")]) <= 10
    study = load_study(FOLDER / "own_data.toml")
    assert set(study.arms) == {"continued", "sftkey", "weighted", "annealed"}


def test_the_papers_arms_and_sets_are_all_there() -> None:
    studies = {path.stem: load_study(path) for path in FILES if path.stem.startswith("paper_")}
    assert len(studies) == 6
    for name, study in studies.items():
        assert set(study.datasets) == {"gsm8k", "openr1_math", "openbookqa", "cot_collection"}
        assert (study.stage1["lr"], study.stage1["epochs"], study.stage1["batch_size"]) == (5e-6, 3, 256)
        if name != "paper_sft_plain":
            assert {"continued", "sftkey", "key_tag", "placebo", "weighted"} <= set(study.arms)
