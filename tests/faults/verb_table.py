"""Every verb of the three programs that reads or writes, as one command on small inputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forked_programs import Order


@dataclass(frozen=True)
class Verb:
    """One command, run in a room whose folder `given` holds its inputs."""

    name: str
    program: str
    argv: Sequence[str]
    outputs: Sequence[str] = ("out",)  # all that it may make or change in the room; none: what it says is compared
    changed: Sequence[str] = ()  # an input that a user may change between a kill and going on
    clocked: Sequence[str] = ()  # patterns of outputs that print what a clock has measured: that they are there counts
    kept: str = ""  # pattern of what the command leaves of other inputs, as its documentation says
    ranks: int = 1
    kills: int = 8  # fewer of what takes long or leaves nothing

    def order(self, room: Path, *, largest_file: int | None = None, clock_shift: int = 0) -> Order:
        return Order(self.program, self.argv, room, self.ranks, largest_file, clock_shift)


ROWS = ("gsm8k", "--input", "given/rows.jsonl", "--tokenizer", "given/tok", "--shard-rows", "6", "--holdout", "0.25")
ASKED = ("--model", "given/model", "--data", "given/data", "--max-new-tokens", "12", "--batch-size", "2")
TWO = ("a=given/theirs.parquet", "b=given/other.parquet")

VERBS = (
    Verb(
        "data build",
        "data",
        ("build", *ROWS, "--workers", "2", "--out", "out"),
        outputs=("out", "out-holdout"),
        changed=("given/rows.jsonl",),
        kills=28,
    ),
    Verb(
        "data export",
        "data",
        ("export", "given/data", "--to", "trl", "--out", "out"),
        changed=("given/data",),
        kills=16,
    ),
    Verb("data check", "data", ("check", "given/data", "--full", "--workers", "2"), outputs=(), kills=6),
    Verb("data stats", "data", ("stats", "given/data"), outputs=(), kills=4),
    Verb("data stats --plot", "data", ("stats", "given/data", "--plot", "out.png"), outputs=("out.png",), kills=14),
    Verb("data show", "data", ("show", "given/data", "--num", "2"), outputs=(), kills=4),
    Verb("data show --html", "data", ("show", "given/data", "--html", "out.html"), outputs=("out.html",), kills=14),
    Verb(
        "eval generate",
        "eval",
        ("generate", *ASKED, "--out", "out/completions.jsonl"),
        changed=("given/model",),
        kills=6,
    ),
    Verb(
        "eval generate --cache",
        "eval",
        ("generate", *ASKED, "--cache", "cache", "--out", "out/completions.jsonl"),
        outputs=("out", "cache"),
        kills=6,
    ),
    Verb("eval run", "eval", ("run", *ASKED, "--teacher-forced", "--out", "out"), changed=("given/model",), kills=6),
    Verb(
        "eval score",
        "eval",
        ("score", "given/theirs.jsonl", "--out", "out.parquet"),
        outputs=("out.parquet",),
        kills=18,
    ),
    Verb(
        "eval score of our own",
        "eval",
        ("score", "given/run-a/completions.jsonl", "--out", "out.parquet"),
        outputs=("out.parquet",),
        kills=10,
    ),
    Verb(
        "eval score of imported",
        "eval",
        ("score", "given/imported.jsonl", "--out", "out.parquet"),
        outputs=("out.parquet",),
        kills=6,
    ),
    Verb("eval grade", "eval", ("grade", "given/pairs.jsonl", "--out", "out.jsonl"), outputs=("out.jsonl",), kills=18),
    Verb(
        "eval import",
        "eval",
        ("import", "given/samples_gsm8k_2026-11-25T07-46-11.494235.jsonl", "--out", "out.jsonl"),
        outputs=("out.jsonl",),
        kills=18,
    ),
    Verb("eval report", "eval", ("report", *TWO, "--out", "out"), kills=6),
    Verb("eval report of runs", "eval", ("report", "given/run-a", "given/run-b", "--out", "out"), kills=4),
    Verb("eval compare", "eval", ("compare", *TWO, "--out", "out"), kills=8),
    Verb(
        "train run",
        "train",
        ("run", "given/full.toml"),
        changed=("given/data", "given/model", "given/full.toml"),
        kills=8,
    ),
    Verb("train run, LoRA", "train", ("run", "given/lora.toml"), changed=("given/data", "given/model"), kills=6),
    Verb("train run, two ranks", "train", ("run", "given/full.toml"), ranks=2, kills=5),
    Verb(
        "train study",
        "train",
        ("study", "given/study.toml"),
        changed=("given/study.toml",),
        kept="out/runs/*",
        clocked=("out/study.html", "out/study.md", "out/tables/*_cost.*"),
        kills=5,
    ),
    Verb("train study --report", "train", ("study", "--report", "given/study/study.json", "--out", "out"), kills=4),
)
