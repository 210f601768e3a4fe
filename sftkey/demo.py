"""The demo: a small study from generated data to its report, below `./demo`, and short names for what it leaves."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sftkey_data import console
from sftkey_data.errors import SFTKeyError
from sftkey_data.storage.appearing import make_folder
from sftkey_data.view.show import legend, show_folder
from sftkey_train.cli import study as run_study_file
from sftkey_train.recipe_file import READY_RECIPES
from sftkey_train.study.study_plan import plan_runs
from sftkey_train.study.study_runner import OpenStudy, open_study
from sftkey_train.study.study_sets import SETS, make_sets

DEMO = Path("demo")


@dataclass(frozen=True, slots=True)
class _Length:
    """A study of the package, what to expect of it before it starts, and what to remember at its end."""

    file: str
    begins: str
    ends: str


_WHOLE = _Length(
    "studies/small.toml",
    "demo: 16 trainings of a model of 0.1 million parameters, some 5 minutes on 2 cores and 20 MB below ./demo",
    "what it shows holds for this data and this model alone",
)
_QUICK = _Length(
    "studies/quick.toml",
    "demo: 4 short trainings of a model of 0.1 million parameters, about a minute and 5 MB below ./demo",
    "one seed and few steps: this shows the path and no result, which `sftkey demo` without --quick does",
)


def run_demo(*, quick: bool, workers: int | None) -> None:
    """Run the study of the demo, which goes on where it was stopped, and name what it leaves.

    Args:
        quick: Its short form, of one seed and few steps.
        workers: Processes; None: one per core, and for the short form one, as starting more takes longer.

    Raises:
        SFTKeyError: Something else lies where the demo puts its names.
    """
    length = _QUICK if quick else _WHOLE
    opened = open_study(READY_RECIPES / length.file)
    for name in ("tokenizer", "train", "test", *(f"models/{arm}" for arm in opened.arms)):
        _refuse_no_link(DEMO / name)
    console.tell(length.begins, err=True)
    run_study_file(opened.path, workers=workers or (1 if quick else None))
    for name, target in _short_names(opened):
        _link(DEMO / name, target)
    console.tell_in_colour([legend(), *show_folder(DEMO / "train", 1, None)])
    console.say(f"look at it: {opened.study.out / 'study.html'}")
    console.say(length.ends)
    asked = ("--model", DEMO / "models" / "annealed", "--data", DEMO / "test", "--batch-size", 100)
    console.next_command("sftkey-eval", "run", *asked, "--max-new-tokens", 48, "--out", DEMO / "eval")


def _short_names(opened: OpenStudy) -> Iterator[tuple[str, Path]]:
    """The folders of the study's set and the models of its first seed, by what the documentation calls them."""
    study = opened.study
    sets = make_sets(study, study.out / SETS)  # as they are: the study has made them
    (data,) = sets.values()
    yield "tokenizer", data.folders["train"].with_name("tokenizer")
    yield "train", data.folders["train"]
    yield "test", data.folders["test"]
    for run in plan_runs(study, opened.arms, sets):
        if run.seed == study.seeds.claim[0]:
            yield f"models/{run.arm.name}", run.final


def _refuse_no_link(name: Path) -> None:
    if name.exists() and not name.is_symlink():
        raise SFTKeyError(f"{name} is there and is no link, expected none or one that the demo made: move it away")


def _link(name: Path, target: Path) -> None:
    """A link to what lies beside it, so that the demo's folder can be moved; one of an earlier demo is replaced."""
    make_folder(name.parent)
    _refuse_no_link(name)
    new = name.with_name(f".{name.name}.{os.getpid()}.link")
    new.symlink_to(os.path.relpath(target, name.parent))
    new.replace(name)
