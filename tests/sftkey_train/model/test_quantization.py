"""QLoRA: how a model is loaded in 4 bits, what a run leaves of it, what it needs, and what is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import final_weights, metric_rows
from transformers import AutoModelForCausalLM, PreTrainedModel

from sftkey_data.errors import SFTKeyError
from sftkey_train.batches.batch import collate
from sftkey_train.batches.training_set import TrainingSet
from sftkey_train.measure.memory_estimate import estimate_memory
from sftkey_train.measure.metrics_log import MetricsLog
from sftkey_train.model.lora import add_adapter
from sftkey_train.model.model import load_model
from sftkey_train.model.quantization import FourBits, check_quantization, quantized_layers
from sftkey_train.recipe import LOSS_ON_WEIGHTS
from sftkey_train.recipe_file import load_recipe
from sftkey_train.recipe_run import run_recipe
from sftkey_train.recipe_tables import Lora

Write = Callable[[dict[str, Any]], Path]
CPU = torch.device("cpu")
LORA = {"r": 2, "dropout": 0.1, "quantization": "4bit"}


@pytest.fixture
def tables(tables: dict[str, Any], model_dir: Path) -> dict[str, Any]:
    stages = [stage | {"steps": 3} for stage in tables["stage"]]
    return tables | {"model": {"path": str(model_dir)}, "lora": LORA, "stage": stages}


@pytest.mark.parametrize(("precision", "computed"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_model_is_loaded_as_the_paper_has_it(precision: Any, computed: torch.dtype) -> None:
    arguments = FourBits(precision, torch.device("cuda", 1)).arguments()
    config = arguments["quantization_config"]
    assert (config.load_in_4bit, config.load_in_8bit) == (True, False)
    assert (config.bnb_4bit_quant_type, config.bnb_4bit_use_double_quant) == ("nf4", True)
    assert config.bnb_4bit_compute_dtype == computed
    assert arguments["device_map"] == {"": torch.device("cuda", 1)}


def test_without_its_library_it_is_one_line(
    tables: dict[str, Any], fail: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert fail() == (
        "lora: quantization = '4bit' needs bitsandbytes, not installed: pip install \"sftkey[bitsandbytes]\""
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"config": {"model_type": "llama"}}}, "lora: quantization is of pretrained weights, expected model"),
        ({"fsdp": True}, "lora: quantization does not go with fsdp"),
        ({"compile": True}, "lora: quantization does not go with compile"),
        ({"lora": {"quantization": "8bit"}}, "lora: quantization: Input should be '4bit', found '8bit'"),
    ],
    ids=["from_scratch", "fsdp", "compile", "bits"],
)
def test_what_it_does_not_go_with_is_refused(
    change: dict[str, Any], message: str, tables: dict[str, Any], write_recipe: Write
) -> None:
    with pytest.raises(SFTKeyError, match=message):
        load_recipe(write_recipe(tables | change))


def test_a_model_in_four_bits_needs_less(tiny_model: Callable[..., PreTrainedModel], prepared: TrainingSet) -> None:
    config = tiny_model("llama").config
    batch = collate(prepared.examples.first(3), LOSS_ON_WEIGHTS["completion"])
    whole, bits = (estimate_memory(config, batch, "bf16", lora=Lora(r=2, quantization=q)) for q in (None, "4bit"))
    matrices = 2 * (4 * 32 * 32 + 3 * 32 * 48)
    assert whole.weights - bits.weights == pytest.approx((4 - 0.515869) * matrices, abs=1)
    assert (whole.gradients, whole.optimizer) == (bits.gradients, bits.optimizer)
    # Autocast's copies are not kept; of the first layer's queries, keys and values the backward pass needs none anyway.
    assert whole.activations - bits.activations == 2 * (matrices - 3 * 32 * 32)


def test_on_a_device_that_is_not_there_it_is_one_line() -> None:
    pytest.importorskip("bitsandbytes")
    with pytest.raises(SFTKeyError, match=r"^lora: quantization = '4bit' does not run on mps: "):
        check_quantization(Lora(quantization="4bit"), torch.device("mps"))


def _logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=torch.arange(3, 40)[None]).logits
    return logits


class _Stop(Exception):  # noqa: N818 - stands for a kill, not for an error
    pass


@pytest.mark.parametrize("ways", [{}, {"dora": True, "modules_to_save": ["lm_head"]}], ids=["plain", "dora"])
def test_a_run_leaves_the_model_that_it_trained_and_resumes_to_the_same_bits(
    ways: dict[str, Any],
    tables: dict[str, Any],
    model_dir: Path,
    write_recipe: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("bitsandbytes")
    tables |= {"lora": LORA | ways}
    recipe, append = load_recipe(write_recipe(tables)), MetricsLog.append
    whole = recipe.out.with_name("whole")
    list(run_recipe(load_recipe(write_recipe(tables), [f"out={whole}"])))

    def append_then_stop(log: MetricsLog, row: Any) -> None:
        append(log, row)
        if (row["stage"], row["step"]) == ("answer", 3):
            raise _Stop

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "append", append_then_stop)
        with pytest.raises(_Stop):
            list(run_recipe(recipe))
    _, answer = run_recipe(recipe)
    weights, expected = final_weights(recipe.out), final_weights(whole)
    assert weights.keys() == expected.keys()
    assert [name for name, weight in weights.items() if not torch.equal(weight, expected[name])] == []
    assert metric_rows(recipe.out) == metric_rows(whole)

    model = load_model(model_dir, four_bits=FourBits("fp32", CPU))
    assert len(quantized_layers(model)) == 14
    start = _logits(model)
    assert recipe.lora is not None
    add_adapter(model, recipe.lora, seed=0, folder=Path(answer["final"]) / "adapter")
    final = AutoModelForCausalLM.from_pretrained(answer["final"])
    assert not hasattr(final.config, "quantization_config")
    torch.testing.assert_close(_logits(final), _logits(model), rtol=1e-3, atol=1e-3)
    assert float((_logits(final) - start).abs().max()) > 0.05
