"""FSDP trains as one process does, up to rounding, and leaves the same files; with real processes through gloo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, kill_at, metric_rows, run_together, start, train
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM

from sftkey_data.errors import SFTKeyError
from sftkey_train import ranks
from sftkey_train.loss.anchor import frozen
from sftkey_train.loss.comparison import compared_in
from sftkey_train.model.gradient_sums import gradient_sums
from sftkey_train.model.sharding import is_sharded, keep_pace, shard, whole_state
from sftkey_train.recipe_file import load_recipe

Write = Callable[[dict[str, Any]], Path]


@pytest.fixture
def tables(tables: dict[str, Any]) -> dict[str, Any]:
    """Two stages; micro-batches of 5 of 12 examples, and a last batch of one example: fewer than there are ranks."""
    del tables["model"]["config"]["attention_dropout"]
    tables |= {"heldout": tables["data"], "heldout_examples": 17, "fsdp": True}
    for stage in tables["stage"]:
        del stage["steps"]
        stage |= {"epochs": 61 / 60, "batch_size": 12, "micro_batch_size": 5, "lr": 1e-3, "weight_decay": 0.1}
    del tables["stage"][1]["loss_on"]
    tables["stage"][1] |= {"weights": {"key": 3.0, "eos": 1.0}, "anchor": 0.5, "best": "key_nll", "eval_every": 2}
    return tables


@pytest.mark.parametrize(
    ("num", "lora"),
    [
        (2, None),
        pytest.param(2, {"r": 2}, marks=pytest.mark.slow),
        pytest.param(2, {"r": 2, "dora": True, "modules_to_save": ["lm_head"]}, marks=pytest.mark.slow),
        pytest.param(3, None, marks=pytest.mark.slow),
    ],
    ids=["2_ranks", "lora", "dora", "3_ranks_that_sum_once"],
)
def test_shares_train_as_the_whole_model_does(num: int, lora: Any, tables: dict[str, Any], write_recipe: Write) -> None:
    if lora:
        tables |= {"lora": lora, "gradient_checkpointing": True}
    if num == 3:  # two passes of each rank in most steps, and in the last not all have one
        tables["reduce_once"] = True
        for stage in tables["stage"]:
            stage["micro_batch_size"] = 3
    recipe, one, several = write_recipe(tables), Path(tables["out"]) / "one", Path(tables["out"]) / "several"
    train(recipe, [f"out={one}"])
    assert run_together(num, train, recipe, [f"out={several}"]) == [0] * num
    rows, expected = metric_rows(several), metric_rows(one)
    assert [row["examples"] for row in rows if row["kind"] == "train"] == [12, 12, 12, 12, 12, 1] * 2
    for row, other in zip(rows, expected, strict=True):
        assert row.keys() == other.keys()
        for key, value in other.items():
            is_number = isinstance(value, (float, dict))
            assert row[key] == (pytest.approx(value, rel=2e-4, abs=1e-7) if is_number else value), key
    weights, same = final_weights(several), final_weights(one)
    assert weights.keys() == same.keys()
    for name, weight in same.items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-3, atol=2e-5, msg=name)
    files = {path.relative_to(one) for path in one.rglob("*.json")} - {Path("run.json")}
    assert {
        p
        for p in files
        if (one / p).read_bytes() != (several / p).read_bytes() and p.name not in ("recipe.json", "origin.json")
    } == set()
    best = next(several.glob("answer/best-*"))
    assert AutoModelForCausalLM.from_pretrained(best).num_parameters() > 0


@pytest.mark.slow
def test_shares_gathered_in_half_train_nearly_as_one_process_under_autocast(
    tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["precision"] = "bf16"
    for stage in tables["stage"]:
        del stage["micro_batch_size"]
        stage |= {"max_tokens": 512, "packing": "on"}  # which is compared with the plain path, in bf16 alone
    recipe, one, several = write_recipe(tables), Path(tables["out"]) / "one", Path(tables["out"]) / "several"
    train(recipe, [f"out={one}"])
    assert run_together(2, train, recipe, [f"out={several}"]) == [0, 0]
    for row, other in zip(metric_rows(several), metric_rows(one), strict=True):
        assert row["kind"] == other["kind"]
        if row["kind"] == "train":
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-3)
    weights, same = final_weights(several), final_weights(one)
    distance = sum((weights[name] - weight).square().sum() for name, weight in same.items()) ** 0.5
    # 0.2 % of their size and 0.9 % of the way that training has moved them, when it was measured.
    assert distance < 0.01 * sum(weight.square().sum() for weight in same.values()) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lora", "optimizer"),
    [(None, "adamw"), ({"r": 2, "dropout": 0.1}, "adamw"), (None, "muon")],
    ids=["full", "lora", "muon"],
)
def test_shares_that_are_killed_resume_to_the_same_bits(
    lora: Any, optimizer: str, tables: dict[str, Any], write_recipe: Write
) -> None:
    tables["model"]["config"]["attention_dropout"] = 0.1  # each rank draws its own
    if lora:
        tables["lora"] = lora
    for stage in tables["stage"]:
        stage |= {"save_every": 2, "optimizer": optimizer}
    recipe, out, whole = write_recipe(tables), Path(tables["out"]) / "killed", Path(tables["out"]) / "whole"
    assert run_together(2, train, recipe, [f"out={whole}"]) == [0, 0]
    for stage, step in (("full", 4), ("answer", 3)):
        workers = start(2, train, recipe, [f"out={out}"])
        kill_at(workers, out / "metrics.jsonl", f'"kind": "train", "stage": "{stage}", "step": {step},')
        assert (out / stage / "checkpoint-2").exists()
        assert not (out / stage / "final").exists()
    assert run_together(2, train, recipe, [f"out={out}"]) == [0, 0]
    assert metric_rows(out) == metric_rows(whole)
    weights = final_weights(whole)
    assert [name for name, weight in final_weights(out).items() if not torch.equal(weight, weights[name])] == []


def _check_shares(folder: Path) -> None:
    with ranks.process_group(cuda=False):
        model = AutoModelForCausalLM.from_pretrained(folder)
        whole = {name: weight.clone() for name, weight in model.state_dict().items()}
        shard(model)
        assert is_sharded(model)
        shares, ids = [*model.parameters()], torch.ones(1, 4, dtype=torch.long)
        with compared_in(model, "fp32"):
            model(input_ids=ids).logits.sum().backward()
            with torch.no_grad():
                model(input_ids=ids)
        assert all(share.grad is None for share in shares)
        held = sum(p.to_local().numel() for p in model.parameters())
        assert held < 0.6 * model.num_parameters()
        keep_pace(model, 2 - ranks.rank())
        for _ in range(2 - ranks.rank()):
            model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
        state = whole_state(model)
        assert state.keys() == (whole.keys() if ranks.is_main() else set())
        assert all(torch.equal(state[name], whole[name]) for name in state)
        if model.config.tie_word_embeddings and ranks.is_main():
            assert state["lm_head.weight"] is state["model.embed_tokens.weight"]
        gradients = {n: p.grad.full_tensor() for n, p in model.named_parameters() if p.grad is not None}

        alone = AutoModelForCausalLM.from_pretrained(folder)
        for _ in range(3):  # two passes of the first rank, one of the second
            alone(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
        expected = {n: p.grad for n, p in alone.named_parameters() if p.grad is not None}
        assert gradients.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_gradients_are_sums_over_ranks_that_pass_unequally_often(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("qwen2", tie_word_embeddings=True).save_pretrained(tmp_path)
    assert run_together(2, _check_shares, tmp_path) == [0, 0]


# Of each of three ranks its passes of a step; and whether gradients are summed once in it.
STEPS = [((2, 1, 0), True), ((0, 0, 3), False), ((0, 0, 3), True)]


def _loss(model: Any, rank: int, number: int) -> torch.Tensor:
    logits: torch.Tensor = model(input_ids=torch.tensor([[rank, number, 7]])).logits
    return logits.square().mean()


def _check_sums(folder: Path) -> None:
    # The second is its name in torch before 2.13.
    name = next(n for n in ("reduce_scatter_single", "reduce_scatter_tensor") if hasattr(torch.distributed, n))
    summed, real = list[int](), getattr(torch.distributed, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        summed.append(1)
        return real(*args, **kwargs)

    setattr(torch.distributed, name, counted)
    with ranks.process_group(cuda=False):
        alone, model = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
        shard(model)
        num_groups = model.config.num_hidden_layers + 1
        for passes, once in STEPS:
            own = passes[ranks.rank()]
            summed.clear()
            with gradient_sums(model, once=once) as sums:
                keep_pace(model, own, once=once)
                sums.expect(own)
                for number in range(own):
                    sums.backward(_loss(model, ranks.rank(), number))
                sums.finish()
            assert len(summed) == num_groups * (1 if once else max(passes))
            for rank, num in enumerate(passes):
                for number in range(num):
                    _loss(alone, rank, number).backward()
            expected = {name: p.grad for name, p in alone.named_parameters()}
            for name, parameter in model.named_parameters():
                gradient = parameter.grad.full_tensor()
                torch.testing.assert_close(gradient, expected[name], rtol=1e-5, atol=1e-6, msg=f"{name} {passes}")
            alone.zero_grad()
            model.zero_grad()


def test_gradients_are_summed_in_each_pass_or_once_a_step_whatever_each_rank_has_to_do(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("qwen2", tie_word_embeddings=True).save_pretrained(tmp_path)
    assert run_together(3, _check_sums, tmp_path) == [0, 0, 0]


def _check_reference(folder: Path) -> None:
    with ranks.process_group(cuda=False):
        model, whole, reference = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(3))
        shard(model)
        shard(frozen(reference))
        num_passes = 2 * (1 - ranks.rank())
        keep_pace(model, num_passes, reference)
        for number in range(num_passes):
            ids = torch.tensor([[number, 3, 7]])
            logits = model(input_ids=ids).logits
            with torch.no_grad():
                assert torch.equal(reference(input_ids=ids).logits, whole(input_ids=ids).logits)
            assert [name for name, p in reference.named_parameters() if not isinstance(p, DTensor)] == []
            logits.mean().backward()
        assert all(p.grad is None for p in reference.parameters())
        assert all(p.grad is not None for p in model.parameters())


def test_a_reference_in_shares_predicts_the_same_bits_and_is_passed_equally_often(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    tiny_model("llama").save_pretrained(tmp_path)
    assert run_together(2, _check_reference, tmp_path) == [0, 0]


def _check_half(folder: Path) -> None:
    with ranks.process_group(cuda=False):
        model, alone = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
        shard(model, half=True)
        types: list[torch.dtype] = []
        model.model.layers[1].mlp.register_forward_hook(lambda m, *_: types.append(m.up_proj.weight.dtype))
        keep_pace(model, 1 - ranks.rank())  # without autocast around it
        results = []
        for one in (alone, model) if ranks.is_main() else ():
            with torch.autocast("cpu", torch.bfloat16):
                loss = _loss(one, 0, 0)
            loss.backward()
            results.append(loss)
        assert not results or torch.equal(*results)
        assert types == [torch.bfloat16]
        for name, parameter in model.named_parameters():
            gradient = parameter.grad.full_tensor()
            assert parameter.dtype == gradient.dtype == torch.float32
            if ranks.is_main():
                expected = alone.get_parameter(name).grad
                # A norm's gradient is rounded once, that of a matrix under autocast too.
                is_rounded = "layers" in name and parameter.dim() == 1
                assert torch.equal(gradient, expected.bfloat16().float() if is_rounded else expected), name


def test_layers_gathered_in_half_have_the_losses_and_gradients_of_autocast(
    tiny_model: Callable[..., Any], tmp_path: Path
) -> None:
    model = tiny_model("qwen2", tie_word_embeddings=True)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases: of numbers that bf16 has, as those of a new model are
                parameter.copy_(parameter.bfloat16())
    model.save_pretrained(tmp_path)
    assert run_together(2, _check_half, tmp_path) == [0, 0]


def test_gradients_are_summed_once_anyway_without_shares(tables: dict[str, Any], write_recipe: Write) -> None:
    with pytest.raises(SFTKeyError, match=r"reduce_once is for fsdp = true; without it gradients are summed once a st"):
        load_recipe(write_recipe(tables | {"fsdp": False, "reduce_once": True}))


@pytest.mark.parametrize(
    "option", [{"generate_every": 2}, {"gradient_share_every": 2}, {"context_gradient": False, "anchor": 0.0}], ids=str
)
def test_what_passes_unequally_often_is_refused(option: Any, tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"][1] |= option
    with pytest.raises(SFTKeyError, match=r"stage 'answer': fsdp does not go with .*unequally often$"):
        load_recipe(write_recipe(tables))
