"""Builds whose own arithmetic is wrong: a check must find each, with the same wrong arithmetic still in place.

A function is replaced wherever the package holds it, for the build and for the check. What a check shared with the
build would therefore be wrong in both, and hide the fault.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_samples import prepared_folder
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.marks import Spans
from sftkey_data.format.template import Template
from sftkey_data.prepared import unit_tally
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.unit_tally import UnitTally
from sftkey_data.tokens.borders import Borders, token_borders, with_prompt_bit
from sftkey_data.tokens.special_text import Occurrence
from sftkey_data.tokens.tokenizer import Encoded, Encoder
from sftkey_data.verify.check import check

FIXTURE = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")
Change = Callable[[Borders], Borders]


def replace_everywhere(patch: pytest.MonkeyPatch, original: object, wrong: object) -> None:
    """Put a wrong function in the place of another in every module of the package that holds it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("sftkey_data"):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    patch.setattr(module, attribute, wrong)


def fixture_build(out: Path, tokenizer: Path | None) -> Path:
    name = str(tokenizer) if tokenizer else None
    build(BuildConfig(source="gsm8k", inputs=(FIXTURE,), tokenizer=name, max_reject_rate=0.9), out)
    return out


def keys_bit(straddle: int) -> Change:
    return lambda borders: replace(borders, straddle=borders.straddle ^ straddle)


def moved(name: str, by: int) -> Change:
    return lambda borders: replace(borders, **{name: getattr(borders, name) + by})


WRONG_BORDERS: dict[str, Change] = {
    "the Key begins a token early": moved("key_token_start", -1),
    "the Key ends a token late": moved("key_token_end", 1),
    "the CoT ends a token early": moved("cot_token_end", -1),
    "the CoT ends a token late": moved("cot_token_end", 1),
    "the prompt ends a token early": moved("prompt_tokens", -1),
    "the prompt ends a token late": moved("prompt_tokens", 1),
    "no token seems to cross the Key's start": keys_bit(1),
    "no token seems to cross the Key's end": keys_bit(2),
    "no token seems to cross the prompt's end": keys_bit(4),
}
FULL = {"check": False, "check --full": True}


@pytest.mark.parametrize("full", FULL.values(), ids=FULL)
@pytest.mark.parametrize("tokenizer", some_slow(["gpt2", "phi-3-mini"], quick=["gpt2"]))
@pytest.mark.parametrize("change", WRONG_BORDERS.values(), ids=WRONG_BORDERS)
def test_a_build_with_wrong_token_borders_does_not_pass(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change, tokenizer: str, full: bool
) -> None:
    def wrong(encoded: Encoded, prompt_length: int, spans: Spans) -> Borders:
        return change(token_borders(encoded, prompt_length, spans))

    replace_everywhere(monkeypatch, token_borders, wrong)
    folder = fixture_build(tmp_path / "out", shared_data / "tokenizers" / tokenizer)
    with pytest.raises(SFTKeyError, match=r"data-00000\.arrow row \d"):
        check(folder, full=full)


@pytest.mark.parametrize("tokenizer", some_slow(["gpt2", "phi-3-mini"], quick=["gpt2"]))
def test_a_build_with_a_wrong_bit_for_the_prompt_alone_does_not_pass_the_full_check(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer: str
) -> None:
    def wrong(
        borders: Borders, encoded: Encoded, prompt: str, encoder: Encoder, named: Sequence[Occurrence]
    ) -> Borders:
        found = with_prompt_bit(borders, encoded, prompt, encoder, named)
        return replace(found, straddle=found.straddle ^ 8)

    replace_everywhere(monkeypatch, with_prompt_bit, wrong)
    monkeypatch.setattr("sftkey_data.building.build.proven", lambda plan: (plan.recipes, ""))  # no fast encoder
    folder = fixture_build(tmp_path / "out", shared_data / "tokenizers" / tokenizer)
    with pytest.raises(SFTKeyError, match=r"data-00000\.arrow row 0 .* straddle is"):
        check(folder, full=True)


def wrong_quantiles(lengths: Counter[int]) -> dict[str, float]:
    found = dict(RIGHT_QUANTILES(lengths))
    return found | {"p50": found["p50"] + 1} if found else found


def wrong_mean(lengths: Counter[int]) -> dict[str, float]:
    found = dict(RIGHT_QUANTILES(lengths))
    return found | {"mean": found["mean"] + 0.001} if found else found


def wrong_total(lengths: Counter[int]) -> int:
    return RIGHT_TOTAL(lengths) + len(lengths)


RIGHT_QUANTILES, RIGHT_TOTAL = unit_tally._quantiles, unit_tally._total
WRONG_SUMS: dict[str, tuple[object, object]] = {
    "a quantile": (RIGHT_QUANTILES, wrong_quantiles),
    "a mean": (RIGHT_QUANTILES, wrong_mean),
    "a total": (RIGHT_TOTAL, wrong_total),
}


@pytest.mark.parametrize("full", FULL.values(), ids=FULL)
@pytest.mark.parametrize("tokenizer", some_slow(["gpt2", None], quick=[None]))
@pytest.mark.parametrize(("right", "wrong"), WRONG_SUMS.values(), ids=WRONG_SUMS)
def test_a_build_that_sums_up_wrongly_does_not_pass(
    shared_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: object,
    wrong: object,
    tokenizer: str | None,
    full: bool,
) -> None:
    replace_everywhere(monkeypatch, right, wrong)
    folder = fixture_build(tmp_path / "out", shared_data / "tokenizers" / tokenizer if tokenizer else None)
    with pytest.raises(SFTKeyError, match=r"manifest\.json: statistics\."):
        check(folder, full=full)


@pytest.mark.parametrize("field", ["straddles", "lengths", "completion_lengths", "key_lengths"])
def test_a_build_that_counts_wrongly_does_not_pass(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    right = UnitTally.add

    def wrong(self: UnitTally, *args: Any, **values: Any) -> None:
        right(self, *args, **values)
        counted = getattr(self, field)
        counted[max(counted)] += 1

    monkeypatch.setattr(UnitTally, "add", wrong)
    folder = fixture_build(tmp_path / "out", shared_data / "tokenizers" / "gpt2")
    with pytest.raises(SFTKeyError, match=r"manifest\.json: statistics\."):
        check(folder)


def test_a_build_that_adds_units_up_wrongly_does_not_pass(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = UnitTally.sum

    def wrong(tallies: Any) -> UnitTally:
        return right(list(tallies)[:1]).model_copy(update=dict.fromkeys(("read", "written"), 5))

    monkeypatch.setattr(UnitTally, "sum", staticmethod(wrong))
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    build(BuildConfig(source="gsm8k", inputs=(FIXTURE,), tokenizer=gpt2, shard_rows=3), tmp_path / "out")
    with pytest.raises(SFTKeyError, match=r"manifest\.json"):
        check(tmp_path / "out")


@pytest.mark.parametrize("full", FULL.values(), ids=FULL)
def test_a_build_that_takes_every_text_for_free_of_marks_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    monkeypatch.setattr(Template, "_once_in_each", lambda self, completions: True)
    folder = prepared_folder(tmp_path, None)
    assert open_prepared(folder).manifest.counts.written == 6  # a mark in its CoT: one too many
    with pytest.raises(SFTKeyError, match=r"data-00000\.arrow row 5 .*the completion does not parse"):
        check(folder, full=full)
