"""The teacher-forced Key: equal to a plain forward pass, to itself in other batches, and after an interruption."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from eval_samples import completion
from transformers import AutoModelForCausalLM

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import load_tokenizer
from sftkey_eval.exposure import teacher_forcing
from sftkey_eval.exposure.exposure_gap import FORCED_FILE, read_key_lines, summarize_exposure, teacher_forced_summary
from sftkey_eval.exposure.forced_inputs import ForcedItem, Sample, in_batches, load_forced, within
from sftkey_eval.exposure.teacher_forcing import SUMMARY_FILE, key_scores, teacher_force

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[3]


def rows_of(prepared: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = open_shards(prepared).to_pylist()
    return rows


def write_completions(path: Path, prepared: Path, texts: dict[int, str]) -> Path:
    """Every row answered by its gold completion, some by other texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        {"id": row["id"], "prompt": row["prompt"], "gold": row["gold"], "finish_reason": "stop"}
        | {"completion": texts.get(number, row["completion"])}
        for number, row in enumerate(rows_of(prepared))
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def plain(model: Any, ids: tuple[int, ...], key_start: int) -> tuple[float, bool]:
    """One text alone, all logits, in double precision after them."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    losses = [-torch.log_softmax(logits[t - 1], 0)[ids[t]].item() for t in range(key_start, len(ids))]
    return sum(losses), all(int(logits[t - 1].argmax()) == ids[t] for t in range(key_start, len(ids)))


def test_scores_equal_a_plain_forward_pass_in_any_batch(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    texts = {1: completion("so it is 9, or so", "9"), 3: completion("none of it", "77"), 5: "It is 9."}
    path = write_completions(tmp_path / "completions.jsonl", prepared, texts)
    items = load_forced(prepared, read_manifest(prepared), path, load_tokenizer(str(tiny_model)))
    shown = [text for item in items for text in item.shown]
    assert len(shown) == len(items) + 2  # a right completion is the gold text; one has no CoT
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    together = key_scores(model, shown)
    for text, score in zip(shown, together, strict=True):
        nll, exact = plain(model, text.ids, text.key_start)
        (alone,) = key_scores(model, [text])
        assert score.nll == pytest.approx(nll, rel=1e-5)
        assert alone.nll == pytest.approx(score.nll, rel=1e-5)
        assert (score.exact, alone.exact) == (exact, exact)
    assert len({score.nll for score in together}) > len(shown) // 2


def test_a_key_the_model_has_learned_is_matched(tiny_model: Path, prepared: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    row = rows_of(prepared)[0]
    ids, start, end = row["input_ids"], row["key_token_start"], row["key_token_end"]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        logits = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : end - 1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(ids[start:end])).backward()
        optimizer.step()
    (score,) = key_scores(model.eval(), [teacher_forcing.Forced(tuple(ids[:end]), start)])
    assert score.exact
    assert score.nll < 0.1


def test_what_is_left_out_is_counted_under_its_code_and_the_sums_add_up(
    tiny_model: Path, prepared: Path, tmp_path: Path
) -> None:
    long = completion("5 + 4 = 9. " * 60, "9")
    texts = {0: "It is 9.", 2: "", 4: long, 6: completion("so it is 9", "9")}
    path = write_completions(tmp_path / "run" / "completions.jsonl", prepared, texts)
    exposure = teacher_force(str(tiny_model), prepared, path, device="cpu", dtype="float32")
    assert exposure.left_out_own_cot == {"empty": 1, "missing_cot": 1, "too_long": 1}
    assert exposure.left_out_gold_cot == {}
    num = exposure.num_items
    assert (exposure.num_rows, exposure.gold_cot.num_items) == (num, num)
    assert exposure.own_cot.num_items == exposure.difference.num_items == num - 3
    lines = read_key_lines(tmp_path / "run" / FORCED_FILE)
    assert [line.id for line in lines] == [row["id"] for row in rows_of(prepared)]
    same = [line for n, line in enumerate(lines) if n not in texts]
    assert all(line.nll_own_cot == line.nll_gold_cot for line in same)  # the gold CoT given as its own
    assert lines[6].nll_own_cot != lines[6].nll_gold_cot
    gaps = [line.nll_own_cot - line.nll_gold_cot for line in lines if line.nll_own_cot and line.nll_gold_cot]
    assert exposure.difference.nll is not None
    assert exposure.difference.nll.value == pytest.approx(sum(gaps) / len(gaps))
    assert teacher_forced_summary(tmp_path / "run") == exposure
    assert json.loads((tmp_path / "run" / SUMMARY_FILE).read_text())["num_items"] == num
    assert "without own CoT: empty 1, missing_cot 1, too_long 1" in exposure.line()
    again = teacher_force(str(tiny_model), prepared, path, device="cpu", dtype="float32")
    assert again == exposure


def test_batches_hold_every_item_once_within_their_budget(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    path = write_completions(tmp_path / "completions.jsonl", prepared, {1: completion("so 9", "9")})
    items = load_forced(prepared, read_manifest(prepared), path, load_tokenizer(str(tiny_model)))
    batches = in_batches(items, 300, 12)
    assert Counter(item.id for batch in batches for item in batch) == Counter(item.id for item in items)
    for batch in batches:
        shown = [text for item in batch for text in item.shown]
        assert len(batch) == 1 or len(shown) * max(len(text.ids) for text in shown) <= 300
        assert len(batch) == 1 or sum(text.key_tokens for text in shown) <= 12
    assert len(batches) > 1


def test_the_last_token_of_a_key_needs_no_place_in_the_context() -> None:
    text = teacher_forcing.Forced((1, 2, 3, 4), 3)
    item = ForcedItem("a", text, (Sample("a", 0, text),))
    assert within(item, 3) == item
    assert within(item, 2) == replace(item, gold="too_long", samples=(Sample("a", 0, "too_long"),))
    assert within(item, None) == item


@pytest.mark.slow
def test_a_killed_measurement_goes_on_to_the_same_bytes(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    texts = {n: completion(f"it may be {n}", "9") for n in range(0, 24, 2)}
    whole = write_completions(tmp_path / "whole" / "completions.jsonl", prepared, texts)
    killed = write_completions(tmp_path / "killed" / "completions.jsonl", prepared, texts)
    code = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from pathlib import Path; from sftkey_eval.exposure import teacher_forcing as forced\n"
        "forced.BATCH_TOKENS = 200\n"
        "model, data, path = map(Path, sys.argv[1:])\n"
        "forced.teacher_force(str(model), data, path, device='cpu', dtype='float32')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def start(path: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", code, str(tiny_model), str(prepared), str(path)]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)

    assert start(whole).wait(120) == 0
    process, partial = start(killed), killed.parent / f"{FORCED_FILE}.partial"
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if partial.exists() and partial.stat().st_size:
            process.kill()
            break
        time.sleep(0.0005)
    process.wait()
    if process.returncode != -signal.SIGKILL:
        pytest.skip("it was faster than the kill")
    lines_before = partial.read_bytes().count(b"\n")
    assert lines_before < 24
    assert start(killed).wait(120) == 0
    for name in (FORCED_FILE, SUMMARY_FILE):
        assert (killed.parent / name).read_bytes() == (whole.parent / name).read_bytes()


def test_completions_of_other_data_are_refused(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    path = write_completions(tmp_path / "completions.jsonl", prepared, {})
    text = path.read_text()
    path.write_text(text.replace(rows_of(prepared)[0]["id"], "other/1", 1))
    with pytest.raises(SFTKeyError, match="'other/1' answers no row of"):
        teacher_force(str(tiny_model), prepared, path, device="cpu", dtype="float32")
    assert not (tmp_path / FORCED_FILE).exists()


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(SFTKeyError, match="no lines"):
        read_key_lines(tmp_path / "empty.jsonl")
    assert summarize_exposure([]).line() == "teacher-forced Key: nothing to compare (0 of 0 items)"
