"""The model of a run: from a checkpoint, a directory, the hub, or a small configuration in the recipe."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.model_loading import as_one_line, load_causal_model, load_config, needed_attention, own_end_tokens
from sftkey_data.tokens.tokenizer import load_tokenizer, tokenizer_fingerprint
from sftkey_train.loss.flash_attention import half_where_needed
from sftkey_train.model.added_tokens import add_tokens_of
from sftkey_train.model.quantization import FourBits
from sftkey_train.recipe_tables import Attention, ModelSource

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from sftkey_train.batches.training_set import TrainingSet

READ_THEN_TRUST = "read it, then set model.trust_remote_code = true"

# Of a layer that is compiled: with a gradient or none, in training or not, in fp32 or bf16, with a mask or none, for
# one row or several, for one token or more, with a cache or none. What is tried before the first step has more than 8
# of them already, torch's own limit, beyond which it leaves a layer uncompiled and says so in its log only.
MOST_FORMS = 64

# Old names that configurations still take beside `rope_parameters`.
ROPE_FIELDS = ("rope_theta", "rope_scaling")


def model_config(source: ModelSource, tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedConfig":
    """The configuration of the model a run starts from; a small one takes its vocabulary from the tokenizer.

    Raises:
        SFTKeyError: The model is not there, is of no known type, is no causal language model, or has unknown fields.
    """
    if source.path is not None:
        trust = source.trust_remote_code
        config = load_config(_existing(source.path), trust_remote_code=trust, instead=READ_THEN_TRUST)
    else:
        config = _small_config(source.config or {}, tokenizer)
    if source.tags_as_tokens:
        text_config = config.get_text_config()
        text_config.vocab_size = max(text_config.vocab_size, len(tokenizer))  # as `embed_added_tokens` makes it
    own_code = source.trust_remote_code and "AutoModelForCausalLM" in getattr(config, "auto_map", {})
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not own_code:
        raise SFTKeyError(f"model: {config.model_type!r} is not a causal language model in transformers")
    return config


def initial_model(
    source: ModelSource,
    config: "PreTrainedConfig",
    seed: int,
    four_bits: FourBits | None = None,
    attention: Attention = "auto",
) -> "PreTrainedModel":
    """The model a run starts from: pretrained weights in fp32 or 4 bits, or weights initialised from the seed."""
    if source.path is not None:
        trust = source.trust_remote_code
        return load_model(source.path, trust_remote_code=trust, four_bits=four_bits, attention=attention)
    torch.manual_seed(seed)
    return untrained_model(config, attention)


def untrained_model(config: "PreTrainedConfig", attention: Attention = "auto") -> "PreTrainedModel":
    """A model of this configuration in fp32, with weights from torch's random generator."""
    let_in = type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING  # of code of its own, which `model_config` let in
    with as_one_line("model: config"):
        model = AutoModelForCausalLM.from_config(
            config,
            dtype=torch.float32,
            attn_implementation=needed_attention(config) if attention == "auto" else attention,
            trust_remote_code=let_in,
        )
    return _causal_model(model)


def load_model(
    name: str | Path,
    *,
    trust_remote_code: bool = False,
    four_bits: FourBits | None = None,
    attention: Attention = "auto",
) -> "PreTrainedModel":
    """A causal language model with all its weights, in fp32, from safetensors files.

    Args:
        name: Directory or hub name.
        trust_remote_code: Run the Python files that come with the model.
        four_bits: How the matrices of its layers are quantized, if they are.
        attention: That of the recipe.

    Raises:
        SFTKeyError: What `load_causal_model` refuses, or a model without an output layer.
    """
    # fp32: optimizer steps are smaller than what bf16 weights can take up
    model = load_causal_model(
        name,
        dtype=torch.float32,
        trust_remote_code=trust_remote_code,
        instead=READ_THEN_TRUST,
        attn_implementation=None if attention == "auto" else attention,
        quantized=None if four_bits is None else four_bits.arguments(),
    )
    return _causal_model(model)


def completion_ends(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Ids that end a completion: the tokenizer's EOS first, then the added tokens that the model stops at by itself.

    What else a model names is a default of its kind (for Llama's, 2) and an ordinary piece of text in this vocabulary.
    """
    known = tokenizer.added_tokens_decoder
    own = [token for token in own_end_tokens(model) if token in known]
    return list(dict.fromkeys([int(tokenizer.eos_token_id), *own]))


def stop_at_end_tokens(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> None:
    """Have the model, and what is saved of it, end its completions as the data does; a list where it has more ends.

    Both configurations say so, as trainers of transformers have it: some programs read the one, some the other.
    """
    ends, config = completion_ends(model, tokenizer), model.config.get_text_config()
    if hasattr(config, "eos_token_id"):
        config.eos_token_id = ends if isinstance(config.eos_token_id, list) else ends[0]
    if model.generation_config is not None:
        model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]


def embed_pad_as_any(model: "PreTrainedModel") -> None:
    """Have the pad token's embedding learn as any other does: where it ends a turn or a text too, it is read as such.

    Of real padding nothing is learned either way, as no token with a loss attends to it.
    """
    embedding = model.get_input_embeddings()
    embedding = getattr(embedding, "base_layer", embedding)  # below an adapter
    if isinstance(embedding, torch.nn.Embedding):
        embedding.padding_idx = None


def recompute_activations(model: "PreTrainedModel") -> None:
    """Keep only the inputs of each layer for the backward pass, which computes the rest again (gradient checkpointing).

    Random numbers are put back for it, so the gradients are the same also with dropout.
    """
    enable: Any = getattr(model, "activation_checkpointing_enable", None)  # older transformers: the other name
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def recomputes_activations(model: "PreTrainedModel") -> bool:
    """Whether `recompute_activations` has been there."""
    is_on: bool | None = getattr(model, "is_activation_checkpointing", None)  # older transformers: the other name
    return model.is_gradient_checkpointing if is_on is None else is_on


@torch.no_grad()
def check_causal(model: "PreTrainedModel") -> None:
    """Refuse a model whose predictions see what they are to predict, such as an encoder with an output layer.

    Raises:
        SFTKeyError: A later token has changed the logits before it.
    """
    # 0 1 2 3 against 0 1 2 0: only the last token differs, so the logits of the first three must not.
    ids = torch.arange(4, device=model.device)[None] % model.config.get_text_config().vocab_size
    was_training = model.training
    model.eval()
    with half_where_needed(model):
        logits, others = (model(input_ids=i, use_cache=False).logits[:, :-1] for i in (ids, ids * (ids < ids.max())))
    model.train(was_training)
    if not torch.allclose(logits, others, rtol=1e-3, atol=1e-4):
        raise SFTKeyError(f"model {type(model).__name__} is not causal: what it predicts, it has already seen")


def compile_layers(model: "PreTrainedModel") -> None:
    """Have `torch.compile` make kernels of each layer, once for all lengths; names and weights stay as they are."""
    from torch._dynamo import config as compiler  # only here, as it takes a second to import

    compiler.recompile_limit = max(compiler.recompile_limit, MOST_FORMS)
    together = set(model._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in together:
            module.compile(dynamic=True)


def check_compiler(device: torch.device) -> None:
    """Refuse to compile for a CPU without a C++ compiler, which torch would miss at the first step.

    Raises:
        SFTKeyError: There is none.
    """
    wanted = [os.environ["CXX"]] if "CXX" in os.environ else ["g++", "clang++"]
    if device.type == "cpu" and not any(map(shutil.which, wanted)):
        raise SFTKeyError(f"compile = true needs a C++ compiler on a CPU, found no {' or '.join(wanted)}")


def check_fit(config: "PreTrainedConfig", data: "TrainingSet") -> None:
    """Refuse a model that cannot hold the data: vocabulary too small, or an example longer than its context.

    Raises:
        SFTKeyError: One line with both numbers.
    """
    text_config = config.get_text_config()
    vocab_size, context = text_config.vocab_size, getattr(text_config, "max_position_embeddings", None)
    needed, lengths = len(data.tokenizer), data.examples.num_tokens
    if vocab_size < needed:
        raise SFTKeyError(f"model: vocab_size is {vocab_size}, but the tokenizer of {data.path} has {needed} tokens")
    longest = int(lengths.argmax())
    if context is not None and lengths[longest] > context:
        raise SFTKeyError(
            f"{data.path}: example {data.examples.id(longest)!r} has {lengths[longest]} tokens, "
            f"but the model's context (max_position_embeddings) is {context}: expected a model with a longer one, "
            f"or a build with --max-tokens {context}"
        )


def check_tokenizer(source: ModelSource, data: "TrainingSet") -> None:
    """Refuse shards made with another tokenizer than a pretrained model's; a small new model takes that of the data.

    Raises:
        SFTKeyError: The tokenizers differ, or the model comes without one and nothing can be said.
    """
    if source.path is None:
        return
    try:
        own = load_tokenizer(source.path)
    except SFTKeyError as error:
        raise SFTKeyError(
            f"model {source.path!r} has no tokenizer to compare with that of {data.path}: {error}"
        ) from None
    if tokenizer_fingerprint(own) == data.fingerprint:
        if source.tags_as_tokens:
            raise SFTKeyError(
                f"model: tags_as_tokens: {data.path} has no token that {source.path!r} lacks; leave it out"
            )
        return
    added, alike = add_tokens_of(data.tokenizer, own), tokenizer_fingerprint(own) == data.fingerprint
    if alike and not source.tags_as_tokens:
        raise SFTKeyError(
            f"{data.path} has {len(added)} tokens that model {source.path!r} lacks; "
            "model.tags_as_tokens = true takes them"
        )
    if not alike:
        raise SFTKeyError(
            f"{data.path} was made with another tokenizer than that of model {source.path!r}; "
            f"build it again with --tokenizer {source.path}"
        )


def _small_config(fields: Mapping[str, Any], tokenizer: "PreTrainedTokenizerBase") -> "PreTrainedConfig":
    model_type, fields = fields["model_type"], {k: v for k, v in fields.items() if k != "model_type"}
    if model_type not in CONFIG_MAPPING:
        raise SFTKeyError(f"model: config: unknown model_type {model_type!r}{nearest(model_type, CONFIG_MAPPING)}")
    with as_one_line(f"model: config: {model_type}"):
        default = CONFIG_MAPPING[model_type]()
        known = {*default.to_dict(), *default.attribute_map, *ROPE_FIELDS}
        for name in fields:
            if name not in known:
                raise SFTKeyError(f"model: config: {model_type} has no field {name!r}{nearest(name, known)}")
        return AutoConfig.for_model(model_type, **{**_vocabulary(tokenizer), **fields})


def _vocabulary(tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": eos,
        # Embeddings of the pad token get no gradient, so it must not be the EOS.
        "pad_token_id": None if pad == eos else pad,
    }


def _causal_model(model: Any) -> "PreTrainedModel":
    if model.get_output_embeddings() is None:
        raise SFTKeyError(f"model {type(model).__name__} names no output layer, expected a causal language model")
    return model  # type: ignore[no-any-return]


def _existing(name: str) -> str:
    path = Path(name)
    is_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" in name and path.parent.is_dir())
    if is_local and not path.is_dir():
        siblings = [p.name for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
        raise SFTKeyError(f"model {name!r} is not there: no such folder{nearest(path.name, siblings)}")
    return name
