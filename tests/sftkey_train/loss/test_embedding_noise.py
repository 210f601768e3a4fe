"""NEFTune: how large the noise is and on what, that it depends on nothing but the example and the step, and resumes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, metric_rows
from torch import Tensor
from transformers import PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import Batch, ExampleOrder, collate
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.loss.embedding_noise import embedding_noise, noisy_embeddings
from sftkey_train.loss.objective import batch_loss, step_batches, token_costs
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.recipe import LOSS_ON_WEIGHTS, Stage
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe

Make = Callable[..., PreTrainedModel]
Write = Callable[[dict[str, Any]], Path]
ORDER = ExampleOrder(seed=3, depth=1, num_examples=60, batch_size=6, num_seen=30)
CPU = torch.device("cpu")


@pytest.fixture
def batch(prepared: TrainingSet) -> Batch:
    return collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["completion"])


def test_the_noise_of_an_example_is_uniform_and_has_the_papers_norm(batch: Batch) -> None:
    noise = embedding_noise(batch, 512, 5.0, 0, 1, CPU)
    for part, length in zip(noise.split(batch.lengths.tolist()), batch.lengths.tolist(), strict=True):
        bound = 5.0 / (length * 512) ** 0.5
        assert float(part.norm()) == pytest.approx(5.0 / 3**0.5, rel=0.01)
        assert 0.999 * bound < float(part.abs().max()) <= bound
        assert abs(float(part.mean())) < 0.02 * bound
        inner = (part.abs() < bound / 2).float().mean()
        assert float(inner) == pytest.approx(0.5, abs=0.01)


def test_seed_step_and_example_decide(batch: Batch) -> None:
    first = embedding_noise(batch, 8, 5.0, 0, 1, CPU)
    assert torch.equal(first, embedding_noise(batch, 8, 5.0, 0, 1, CPU))
    parts = [*first.split(batch.lengths.tolist())]
    parts += [embedding_noise(batch, 8, 5.0, seed, step, CPU)[: len(parts[0])] for seed, step in ((1, 1), (0, 2))]
    few = [part[:5] / part.abs().max() for part in parts]
    assert all(not torch.allclose(one, other) for i, one in enumerate(few) for other in few[:i])


def _embeddings(model: PreTrainedModel, batch: Batch) -> Tensor:
    seen: list[Tensor] = []
    handle = model.get_input_embeddings().register_forward_hook(lambda *a: seen.append(a[2]))
    model(**batch.inputs)
    handle.remove()
    return seen[0]


def test_padding_has_none_and_nothing_is_left_behind(batch: Batch, tiny_model: Make) -> None:
    model = tiny_model("llama")
    plain, state = _embeddings(model, batch), torch.get_rng_state()
    with noisy_embeddings(model, batch, 5.0, 0, 1):
        noisy = _embeddings(model, batch)
    real = batch.is_real.view_as(batch.input_ids)
    assert torch.equal(noisy[~real], plain[~real])
    torch.testing.assert_close((noisy - plain)[real], embedding_noise(batch, 32, 5.0, 0, 1, CPU), rtol=0, atol=1e-5)
    assert (~real).sum() > 0
    assert torch.equal(_embeddings(model, batch), plain)
    assert torch.equal(torch.get_rng_state(), state)


def test_without_alpha_nothing_is_hooked(batch: Batch, tiny_model: Make) -> None:
    model = tiny_model("llama")
    with noisy_embeddings(model, batch, 0.0, 0, 1):
        assert not model.get_input_embeddings()._forward_hooks


def _loss(model: PreTrainedModel, data: TrainingSet, alpha: float, **options: Any) -> tuple[float, dict[str, Tensor]]:
    stage = Stage(name="s", loss_on="completion", steps=1, batch_size=6, lr=1, **options)
    model.zero_grad()
    total, packed = 0.0, stage.packing == "on"
    for batch in step_batches(stage, data.examples.first(6), 1, ORDER, 0, packed=packed):
        with noisy_embeddings(model, batch, alpha, 7, 2):
            loss = batch_loss(token_costs(model, batch), batch, stage)
        loss.backward()
        total += float(loss.detach())
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "changes", [{"micro_batch_size": 2}, {"packing": "on", "max_tokens": 300}, {"prune_last_layer": True}], ids=str
)
def test_loss_and_gradients_do_not_depend_on_how_a_batch_is_passed(
    changes: dict[str, Any], family: str, prepared: TrainingSet, tiny_model: Make
) -> None:
    model = tiny_model(family)
    loss, gradients = _loss(model, prepared, 5.0)
    same, alike = _loss(model, prepared, 5.0, **changes)
    assert same == pytest.approx(loss, rel=1e-5)
    assert abs(_loss(model, prepared, 0.0)[0] - loss) > 1e-3 * loss
    for name, gradient in gradients.items():
        torch.testing.assert_close(alike[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.norm()), msg=name)


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


def test_a_stopped_run_goes_on_to_the_same_bits_and_only_training_is_noisy(
    tables: dict[str, Any], write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"neftune_alpha": 5.0, "steps": 4, "loss_on": "answer", "anchor": 0.5}
    tables |= {"heldout": tables["data"], "heldout_examples": 8}
    tables["stage"] = [tables["stage"][0] | options]
    del tables["model"]["config"]["attention_dropout"]
    recipe, append = load_recipe(write_recipe(tables)), MetricsLog.append
    whole, plain = recipe.out.with_name("whole"), recipe.out.with_name("plain")
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={whole}"])))
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={plain}", "stage.full.neftune_alpha=0"])))

    def append_then_stop(log: MetricsLog, row: Any) -> None:
        append(log, row)
        if row["step"] == 3:
            raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    list(run_recipe(recipe))
    weights, expected, others = (final_weights(out) for out in (recipe.out, whole, plain))
    assert all(torch.equal(weight, expected[name]) for name, weight in weights.items())
    assert not all(torch.equal(weight, others[name]) for name, weight in weights.items())
    assert metric_rows(recipe.out) == metric_rows(whole)
    (before, first), (same, quiet) = (metric_rows(out)[:2] for out in (whole, plain))
    assert before == same  # the held-out set before the first step
    assert quiet["anchor_kl"] == pytest.approx(0, abs=1e-6)
    assert first["anchor_kl"] > 1e-4  # against a reference without noise


def test_a_context_that_is_read_ahead_is_refused(tables: dict[str, Any], write_recipe: Write) -> None:
    tables["stage"][1] |= {"neftune_alpha": 5.0, "context_gradient": False}
    with pytest.raises(SFTKeyError, match=r"stage 'answer': neftune_alpha needs context_gradient = true: the context"):
        load_recipe(write_recipe(tables))
