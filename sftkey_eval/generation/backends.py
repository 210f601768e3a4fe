"""lm-eval's model back-ends by name: which class, with which arguments, and how it gives raw completions.

`hf` is held to the exact ids by the module `hf`; servers (`local-completions` and its kin) by `servers`; `vllm` and
`sglang` by `inference_engines`. Any other is asked through `generate_until` alone: then the finish reason is known only
where the text is as long as the limit.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_eval.generation.sampling import Generated, Request, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from sftkey_eval.generation.generate import GenerateOptions

HF = ("hf", "hf-auto", "huggingface")
ENGINES = ("vllm", "sglang")
# Each of these cuts or shapes the text behind our back, or is a flag of ours.
REFUSED_ARGUMENTS = (
    "batch_size",
    "enable_thinking",
    "eos_string",
    "max_gen_toks",
    "pretrained",
    "seed",
    "think_end_token",
)
# Never written to a run record, which people publish.
SECRET_ARGUMENTS = ("api_key", "auth_token", "header")


class Backend(Protocol):
    """What completes requests."""

    max_length: int | None
    """Tokens of prompt and completion together; None where it is not known."""

    def complete_all(
        self, requests: Sequence[Request], missing: Collection[str], sampling: Sampling
    ) -> Iterator[list[tuple[Request, Generated]]]:
        """The completions of at least the missing requests, in groups, as they get ready."""


def check_backend(options: "GenerateOptions") -> None:
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
    if options.device is not None:
        raise SFTKeyError(f"--device is for the back-end hf; {options.backend!r} has its own in --backend-args")
    find_class(options.backend)


def read_arguments(text: str | None) -> dict[str, Any]:
    """`a=1,b=x` as lm-eval reads it.

    Raises:
        SFTKeyError: A part without `=`.
    """
    from lm_eval.utils import simple_parse_args_string

    for part in (text or "").split(","):
        if part.strip() and not part.partition("=")[1]:
            raise SFTKeyError(f"--backend-args: found {part!r}, expected key=value pairs with commas between them")
    return dict(simple_parse_args_string(text))


def published_arguments(text: str | None) -> dict[str, str]:
    """The arguments as text, without those that are secret."""
    return {name: str(value) for name, value in read_arguments(text).items() if name not in SECRET_ARGUMENTS}


def find_class(name: str) -> Any:
    """lm-eval's class of that name.

    Raises:
        SFTKeyError: No such name, or it needs a package that is not installed.
    """
    from lm_eval.api.registry import get_model
    from lm_eval.models import MODEL_MAPPING

    if name not in MODEL_MAPPING:
        raise SFTKeyError(f"back-end {name!r} is not one of lm-eval's{nearest(name, MODEL_MAPPING)}")
    package = {"sglang": "sglang", "local-completions": "tenacity"}.get(name)
    try:
        found = get_model(name)
        if package is not None:
            __import__(package)
    except ImportError as error:
        raise SFTKeyError(_not_installed(name, error)) from None
    return found


def is_server(name: str) -> bool:
    """Whether the model runs elsewhere, behind an address."""
    from lm_eval.models.api_models import TemplateAPI

    found = find_class(name)
    return isinstance(found, type) and issubclass(found, TemplateAPI)


def open_backend(
    options: "GenerateOptions", tokenizer: "PreTrainedTokenizerBase | None", encoded: Mapping[str, list[int]]
) -> Backend:
    """The back-end, ready to complete.

    Args:
        options: Its name and arguments.
        tokenizer: The model's; None where a server keeps it to itself.
        encoded: Ids of every prompt; empty without a tokenizer.

    Raises:
        SFTKeyError: It cannot be made with these arguments.
    """
    if options.backend in HF:
        from sftkey_eval.generation.hf import RawHFLM, load_model

        assert tokenizer is not None
        model = load_model(options.model, device=options.device, dtype=options.dtype)
        return RawHFLM(model, tokenizer, dict(encoded), options.batch_size)
    arguments = read_arguments(options.backend_args)
    if is_server(options.backend):
        from sftkey_eval.generation.servers import ServerBackend

        return ServerBackend(find_class(options.backend), options, arguments, encoded)
    if options.backend in ENGINES:
        from sftkey_eval.generation.inference_engines import EngineBackend

        return EngineBackend(find_class(options.backend), options, arguments, encoded)
    return PlainBackend(make(find_class(options.backend), options, arguments), options.batch_size, tokenizer)


def make(found: Any, options: "GenerateOptions", arguments: Mapping[str, Any]) -> Any:
    """An instance of a class of lm-eval's.

    Raises:
        SFTKeyError: What it says when it cannot be made, in one line.
    """
    given = {"pretrained": options.model, "batch_size": options.batch_size, **arguments}
    try:
        return found(**given)
    except ImportError as error:
        raise SFTKeyError(_not_installed(options.backend, error)) from None
    except (TypeError, ValueError, OSError, AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SFTKeyError(f"back-end {options.backend!r} could not be started: {reason}") from None


class PlainBackend:
    """Any other back-end of lm-eval's, through `generate_until`."""

    def __init__(self, lm: Any, batch_size: int, tokenizer: "PreTrainedTokenizerBase | None") -> None:
        self._lm = lm
        self._batch_size = batch_size
        self._tokenizer = tokenizer
        self.max_length: int | None = getattr(lm, "max_length", None)

    def complete_all(
        self, requests: Sequence[Request], missing: Collection[str], sampling: Sampling
    ) -> Iterator[list[tuple[Request, Generated]]]:
        """Completions in batches, in the order of the requests."""
        from lm_eval.api.instance import Instance

        for start in range(0, len(requests), self._batch_size):
            batch = requests[start : start + self._batch_size]
            if any(request.id in missing for request in batch):
                arguments = generation_arguments(sampling)
                instances = [
                    Instance("generate_until", {}, (request.item.prompt, dict(arguments)), 0) for request in batch
                ]
                texts = self._lm.generate_until(instances, disable_tqdm=True)
                yield [(r, self._generated(t, sampling)) for r, t in zip(batch, texts, strict=True)]

    def _generated(self, text: str, sampling: Sampling) -> Generated:
        num_tokens = len(self._tokenizer.encode(text, add_special_tokens=False)) if self._tokenizer else 0
        return Generated(text, "length" if num_tokens >= sampling.max_new_tokens else None, num_tokens)


def generation_arguments(sampling: Sampling) -> dict[str, Any]:
    """Sampling in lm-eval's words; what cuts nothing off is left out, as not every back-end knows it."""
    arguments: dict[str, Any] = {
        "until": [],
        "max_gen_toks": sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "do_sample": sampling.temperature > 0,
    }
    if sampling.top_p < 1:
        arguments["top_p"] = sampling.top_p
    if sampling.top_k > 0:
        arguments["top_k"] = sampling.top_k
    return arguments


def _not_installed(name: str, error: ImportError) -> str:
    extras = {"vllm": "lm-eval[vllm]", "sglang": "sglang", "local-completions": "sftkey[eval]"}
    missing = (error.name or str(error).splitlines()[0]).partition(".")[0]
    install = extras.get(name, missing)
    return f'back-end {name!r} needs {missing}, not installed: pip install "{install}"'
