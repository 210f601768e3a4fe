"""lm-eval's model back-ends by name: which class, with which arguments, and how it gives raw completions.

`hf` is held to the exact ids by the module `hf`; servers (`local-completions` and its kin) by `servers`; `vllm` and
`sglang` by `inference_engines`. Any other is asked through `generate_until` alone: then the finish reason is known only
where the text is as long as the limit. A module is imported where its back-end is opened, as it loads what no other
needs.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sftkey_data.errors import SFTKeyError
from sftkey_data.model_loading import INSTEAD
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.lm_eval_models import (
    CODE_ARGUMENT,
    ENGINES,
    HF,
    REFUSED_ARGUMENTS,
    Backend,
    find_class,
    is_server,
    make,
    read_arguments,
)
from sftkey_eval.generation.plain_backend import PlainBackend

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def check_backend(options: GenerateOptions) -> None:
    """Refuse a back-end that cannot be loaded, before anything is read.

    Raises:
        SFTKeyError: Unknown name, a package that is not installed, an argument that does not fit.
    """
    arguments = read_arguments(options.backend_args)
    if options.backend in HF:
        if arguments:
            raise SFTKeyError(f"back-end {options.backend!r} takes no --backend-args, found {next(iter(arguments))!r}")
        return
    if refused := [name for name in REFUSED_ARGUMENTS if name in arguments]:
        raise SFTKeyError(
            f"--backend-args {refused[0]} would change the raw text or the model, or is a flag of its own"
        )
    if CODE_ARGUMENT in arguments:
        raise SFTKeyError(f"--backend-args {CODE_ARGUMENT}: code that comes with a model is never run here; {INSTEAD}")
    if options.device is not None:
        raise SFTKeyError(f"--device is for the back-end hf; {options.backend!r} has its own in --backend-args")
    find_class(options.backend)


def open_backend(
    options: GenerateOptions,
    tokenizer: "PreTrainedTokenizerBase | None",
    encoded: Mapping[str, list[int]],
    ends: Sequence[int],
) -> Backend:
    """The back-end, ready to complete.

    Args:
        options: Its name and arguments.
        tokenizer: The model's; None where a server keeps it to itself.
        encoded: Ids of every prompt; empty without a tokenizer.
        ends: Ids that end a completion, see `end_tokens`; empty without a tokenizer.

    Raises:
        SFTKeyError: It cannot be made with these arguments, or stops at the tokenizer's EOS alone.
    """
    if options.backend in HF:
        from sftkey_eval.generation.hf import RawHFLM, load_generator

        assert tokenizer is not None
        model = load_generator(options.model, device=options.device, dtype=options.dtype)
        return RawHFLM(model, tokenizer, dict(encoded), options.batch_size, ends)
    arguments = read_arguments(options.backend_args)
    # At the tokenizer's EOS all stop by themselves, and not every server knows the argument for others.
    others = [token for token in ends if tokenizer is not None and token != tokenizer.eos_token_id]
    if is_server(options.backend):
        from sftkey_eval.generation.servers import ServerBackend

        return ServerBackend(find_class(options.backend), options, arguments, encoded, others)
    if options.backend in ENGINES:
        from sftkey_eval.generation.inference_engines import EngineBackend

        return EngineBackend(find_class(options.backend), options, arguments, encoded, others)
    if others and tokenizer is not None:
        raise SFTKeyError(
            f"back-end {options.backend!r} stops at the EOS of the model's tokenizer alone, which is "
            f"{tokenizer.eos_token!r}; expected {tokenizer.convert_ids_to_tokens(others[0])!r}, which ends the "
            f"examples of {options.data}, or one of the back-ends hf, vllm, sglang"
        )
    return PlainBackend(make(find_class(options.backend), options, arguments), options.batch_size, tokenizer)
