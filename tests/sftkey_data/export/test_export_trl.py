"""An export as TRL's own trainer takes it; needs the extra `trl`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_from_disk
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.export.formats import export
from sftkey_data.prepared.labels import IGNORED

trl = pytest.importorskip("trl")
pytestmark = pytest.mark.slow

FIXTURE = str(Path(__file__).parents[1] / "fixtures" / "gsm8k.jsonl")
BATCH_SIZE = 2


@pytest.fixture(scope="module")
def prepared(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards whose Keys share a token with the space before them."""
    out = tmp_path_factory.mktemp("prepared") / "data"
    tokenizer = str(shared_data / "tokenizers" / "gpt2")
    build(BuildConfig(source="gsm8k", inputs=(FIXTURE,), tokenizer=tokenizer, template="hash", shard_rows=3), out)
    return out


def tiny_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=50_257, bos_token_id=50_256, eos_token_id=50_256, **sizes))


def loss_by_hand(examples: list[dict[str, Any]]) -> float:
    """Mean over the labelled tokens of all examples, each example run alone, each token predicted from those before."""
    total, count = 0.0, 0
    model = tiny_model().eval()
    for example in examples:
        labels = torch.tensor(example["labels"])
        with torch.no_grad():
            logits = model(torch.tensor([example["input_ids"]])).logits[0]
        total += cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED, reduction="sum").item()
        count += int((labels[1:] != IGNORED).sum())
    return total / count


def make_trainer(folder: Path, dataset: Dataset, out: Path, **values: Any) -> Any:
    arguments = trl.SFTConfig(
        output_dir=str(out),
        per_device_train_batch_size=BATCH_SIZE,
        train_sampling_strategy="sequential",
        max_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        bf16=False,
        **values,
    )
    tokenizer = AutoTokenizer.from_pretrained(str(folder / "tokenizer"))
    return trl.SFTTrainer(tiny_model(), args=arguments, train_dataset=dataset, processing_class=tokenizer)


@pytest.mark.parametrize("loss_on", ["completion", "answer", "key", "cot,key"])
def test_trl_trains_two_steps_and_its_first_loss_is_that_of_the_labels(
    prepared: Path, tmp_path: Path, loss_on: str
) -> None:
    longest = export(prepared, tmp_path / "out", to="trl", loss_on=loss_on).longest
    dataset = load_from_disk(str(tmp_path / "out"))["train"]
    trainer = make_trainer(tmp_path / "out", dataset, tmp_path / "run", max_length=longest)
    assert trainer.train_dataset.to_list() == dataset.to_list()  # neither cut nor dropped nor labelled anew
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert losses[0] == pytest.approx(loss_by_hand(dataset.to_list()[:BATCH_SIZE]), rel=1e-4)


def test_less_than_the_length_in_the_card_would_cut_keys(prepared: Path, tmp_path: Path) -> None:
    longest = export(prepared, tmp_path / "out", to="trl", loss_on="key").longest
    assert f"SFTConfig(max_length={longest})" in (tmp_path / "out" / "README.md").read_text()
    dataset = load_from_disk(str(tmp_path / "out"))["train"]
    trainer = make_trainer(tmp_path / "out", dataset, tmp_path / "run", max_length=longest - 2)
    assert len(trainer.train_dataset) < len(dataset)
