"""With several processes a step has the gradients of our own step over all their examples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import run_together
from safetensors.torch import load_file, save_file
from test_region_trainer import KEY40, NUM, STEPS, TOLERANCE, Gradients, arguments, our_step, worst
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, Trainer

import sftkey_data
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.trl import with_region_weights

RANKS = 2


def train_rank(kind: str, model: Path, data: Path, out: Path, loss: dict[str, Any]) -> None:
    """What each rank does; the first keeps the gradients and the logged losses."""
    from trl import SFTTrainer

    seen = Gradients()
    split = {"per_device_train_batch_size": NUM // RANKS // 2, "gradient_accumulation_steps": 2}
    trainer: Any = with_region_weights(Trainer if kind == "Trainer" else SFTTrainer, **loss)(
        AutoModelForCausalLM.from_pretrained(str(model), trust_remote_code=False),
        args=arguments(kind, out / "run", ddp_backend="gloo", **split),
        train_dataset=sftkey_data.load(data),
        processing_class=AutoTokenizer.from_pretrained(str(data / "tokenizer"), trust_remote_code=False),
    )
    trainer.add_callback(seen)
    trainer.train()
    if trainer.is_world_process_zero():
        for step, found in enumerate(seen.steps, start=1):
            save_file({name.removeprefix("module."): g for name, g in found.items()}, out / f"{step}.safetensors")
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        save_file({"losses": torch.tensor(losses)}, out / "losses.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["Trainer", "SFTTrainer"])
@pytest.mark.parametrize("normalisation", ["token", "example"])
def test_gradients_of_two_ranks_are_ours(
    kind: str,
    normalisation: str,
    tiny_model: Callable[..., PreTrainedModel],
    prepared: TrainingSet,
    tmp_path: Path,
) -> None:
    pytest.importorskip("trl")
    tiny_model("llama").save_pretrained(str(tmp_path / "model"))
    loss = {"weights": KEY40, "normalisation": normalisation}
    codes = run_together(RANKS, train_rank, kind, tmp_path / "model", prepared.path, tmp_path, loss)
    assert codes == [0] * RANKS
    losses = load_file(tmp_path / "losses.safetensors")["losses"]
    assert len(losses) == STEPS
    for step in range(1, STEPS + 1):
        expected, gradients = our_step(tiny_model("llama"), prepared, loss, step)
        assert worst(load_file(tmp_path / f"{step}.safetensors"), gradients) < TOLERANCE
        assert losses[step - 1].item() == pytest.approx(expected, rel=1e-3)  # a trainer rounds what it logs
