"""`sftkey demo` away from a checkout: what the wheel carries is enough; and what is not the demo's stays as it is."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from sftkey.demo import run_demo
from sftkey_data.errors import SFTKeyError

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("sftkey", "sftkey_data", "sftkey_eval", "train")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, as a build leaves files beside its sources."""
    folder = tmp_path_factory.mktemp("wheel")
    (copy := folder / "sources").mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(copy)], check=True, env=os.environ | {"PYTHONPATH": ""})
    return next(folder.glob("sftkey-*.whl"))


def test_the_wheel_carries_every_recipe_and_all_programs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(archive.read(name) for name in names if name.endswith("/entry_points.txt")).decode()
    recipes = ROOT / "train" / "recipes"
    expected = {f"sftkey_train/recipes/{path.relative_to(recipes)}" for path in recipes.rglob("*") if path.is_file()}
    assert len(expected) > 15
    assert {name for name in names if name.startswith("sftkey_train/recipes/")} == expected
    assert "sftkey/demo.py" in names
    for line in ("sftkey = sftkey.cli:main", "sftkey-data = ", "sftkey-train = ", "sftkey-eval = "):
        assert line in entry_points


@pytest.mark.slow
def test_the_quick_demo_runs_from_an_empty_folder_with_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    empty.mkdir()
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}

    def called(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / program), *arguments]
        return subprocess.run(command, cwd=empty, env=alone, capture_output=True, text=True, check=False)

    done = called("sftkey", "demo", "--quick")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["arm"] for line in told[:-1]] == ["stage1", "continued", "sftkey", "annealed"]
    assert told[-1]["report"] == "demo/quick/study.html"
    assert "this shows the path and no result" in done.stderr.splitlines()[-2]
    assert done.stderr.splitlines()[-1].startswith(
        "next: sftkey eval run --model demo/models/annealed --data demo/test"  # by the name that was typed
    )
    assert [path.name for path in empty.iterdir()] == ["demo"]
    assert (empty / "demo" / "quick" / "study.html").is_file()
    for name in ("tokenizer/tokenizer.json", "train/manifest.json", "models/sftkey/model.safetensors"):
        assert (empty / "demo" / name).is_file()

    shutil.move(empty / "demo", tmp_path / "moved")
    assert (tmp_path / "moved" / "models" / "annealed" / "config.json").is_file()
    shutil.move(tmp_path / "moved", empty / "demo")
    again = called("sftkey", "demo", "--quick")
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    recipes = called("sftkey", "train", "recipe", "--path").stdout.strip()
    assert Path(recipes) == packages / "sftkey_train" / "recipes"


@pytest.mark.parametrize("name", ["train", "models/sftkey"])
def test_what_is_no_link_of_the_demo_is_left_alone_and_nothing_is_trained(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (own := tmp_path / "demo" / name).mkdir(parents=True)
    (own / "notes.txt").write_text("mine")
    with pytest.raises(SFTKeyError, match=f"demo/{name} is there and is no link, expected none or one that the demo"):
        run_demo(quick=True, workers=1)
    assert (own / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "demo" / "quick").exists()
