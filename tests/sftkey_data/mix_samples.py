"""A mix of two sources with weights, and the rows of its files."""

import json
from pathlib import Path
from typing import Any

SEED = 3
MIX = f"""
seed = {SEED}
[[source]]
dataset = "columns"
name = "easy"
input = "easy.jsonl"
weight = 2.5
[[source]]
dataset = "columns"
name = "hard"
input = ["hard.jsonl"]
weight = 0.5
where = "level>=2"
"""


def asked(name: str, number: int) -> str:
    return f"What is the {name} number {number}?"


def row(name: str, number: int) -> dict[str, Any]:
    return {"prompt": asked(name, number), "cot": f"It is {number}.", "key": str(number), "level": number % 4}


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))


def write_mix(folder: Path) -> Path:
    """60 easy rows, the first 10 of which ask what a row before asks, and 200 hard ones, half of them wanted."""
    lines(folder / "easy.jsonl", [row("easy", max(n, 10)) for n in range(60)])
    lines(folder / "hard.jsonl", [row("hard", n) for n in range(200)])
    (path := folder / "mix.toml").write_text(MIX)
    return path
