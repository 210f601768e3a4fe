"""What the tables of a recipe are made of, and those that are of the whole run: the model it starts from, adapters."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
AtLeastOne = Annotated[int, Field(ge=1, lt=2**31)]  # torch and NumPy take no more
AtLeastZero = Annotated[int, Field(ge=0, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Attention = Literal["auto", "eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"]
FOLDER_NAME = r"^[A-Za-z][A-Za-z0-9_-]*$"
Name = Annotated[str, Field(pattern=FOLDER_NAME, max_length=100)]
"""Of a stage, an arm, a set: a folder is named by it."""


class RecipeTable(BaseModel):
    """A table of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    later: ClassVar[tuple[str, ...]] = ()
    """Keys that came later: a record leaves them out at their default, so that runs begun before them go on."""

    @model_serializer(mode="wrap")
    def _as_before(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        left_out = {key for key in self.later if getattr(self, key) == type(self).model_fields[key].default}
        return {key: value for key, value in written(self).items() if key not in left_out}


class ModelSource(RecipeTable):
    """Where the first stage starts: a model directory or hub name, or a configuration to initialise from the seed."""

    later = ("tags_as_tokens",)
    path: str | None = None
    config: dict[str, Any] | None = None
    trust_remote_code: bool = Field(False, description="run the Python files that come with the model")
    tags_as_tokens: bool = Field(
        default=False, description="take tokens that the data's tokenizer has beyond the model's"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.path is None) == (self.config is None):
            raise ValueError("expected exactly one of 'path' and a table 'config'")
        if self.tags_as_tokens and self.path is None:
            raise ValueError("tags_as_tokens is for a pretrained model: a new one takes the data's tokenizer as it is")
        if self.config is not None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("config: key 'model_type' is missing, for example 'llama' or 'qwen2'")
        return self


class Lora(RecipeTable):
    """Train low-rank adapters (arXiv 2106.09685) and leave the model's own weights; stages hand the adapter on."""

    later = ("dora", "modules_to_save", "quantization")
    r: AtLeastOne = 16
    alpha: AtLeastOne = Field(32, description="the update is scaled alpha/r")
    dropout: BelowOne = 0.0
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of linear layers; all-linear: every one but the output layer"
    )
    dora: bool = Field(False, description="DoRA: each output's length is trained apart from its direction")
    modules_to_save: tuple[str, ...] = Field((), description="names of modules whose own weights are trained, too")
    quantization: Literal["4bit"] | None = Field(None, description="QLoRA: the model's own matrices in NF4")

    @model_validator(mode="after")
    def _one_way_to_train(self) -> Self:
        if both := sorted(set(self.modules_to_save) & set(self.target_modules)):
            raise ValueError(f"{both[0]!r} is in target_modules and in modules_to_save, expected it in one of them")
        return self


class WholeRun(RecipeTable):
    """What a recipe says of the whole run, beside its stages."""

    later = ("attention", "deterministic", "logits_mib", "reduce_once")
    name: str
    data: Path = Field(description="prepared directory to train on")
    heldout: Path | None = Field(None, description="prepared directory to measure on, never trained on")
    heldout_examples: AtLeastOne = Field(128, description="how many of its first examples are measured")
    out: Path = Field(description="directory of the run; the same command with the same directory resumes")
    seed: Seed = Field(0, description="initial weights, data order and dropout follow from it")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16: autocast over fp32 weights")
    attention: Attention = Field("auto", description="transformers' attention function; auto: what it chooses itself")
    threads: AtLeastZero = Field(0, description="CPU threads; 0: what torch chooses")
    deterministic: bool = Field(False, description="the same bits every time on a GPU too, or an operation is refused")
    logits_mib: AtLeastZero = Field(
        0, description="MiB of logits held at once; 0: 256, more on a GPU, see output_layer.py"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations in the backward pass: less memory")
    compile: bool = Field(False, description="torch.compile the layers: slow first steps, then fewer kernels")
    fsdp: bool = Field(False, description="each of torchrun's processes holds a share of weights and optimizer")
    reduce_once: bool = Field(
        default=False, description="fsdp: gradients are summed once a step, not in each pass; each process keeps all"
    )
    peak_flops: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        None, description="FLOP/s that a device could reach, for MFU; default: known for H100 and A100 in bf16"
    )
    trackers: tuple[str, ...] = Field((), description="where metrics go besides metrics.jsonl: tensorboard, wandb, …")
    model: ModelSource
    lora: Lora | None = Field(None, description="train adapters instead of all weights")

    @model_validator(mode="after")
    def _shares_are_summed(self) -> Self:
        if self.reduce_once and not self.fsdp:
            raise ValueError("reduce_once is for fsdp = true; without it gradients are summed once a step anyway")
        return self

    @model_validator(mode="after")
    def _quantization_has_what_it_needs(self) -> Self:
        if self.lora is not None and self.lora.quantization is not None:
            if self.model.path is None:
                raise ValueError("lora: quantization is of pretrained weights, expected model.path")
            if self.fsdp or self.compile:
                name = "fsdp" if self.fsdp else "compile"
                raise ValueError(f"lora: quantization does not go with {name}")
        return self
