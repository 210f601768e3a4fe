"""lm-eval's model classes by name: which class, with which arguments, and what can be made of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from lm_eval.api.registry import get_model
from lm_eval.models import MODEL_MAPPING
from lm_eval.utils import simple_parse_args_string

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_eval.generation.generate_options import GenerateOptions
from sftkey_eval.generation.sample_requests import Generated, Request
from sftkey_eval.generation.sampling import Sampling

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
CODE_ARGUMENT = "trust_remote_code"

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


def read_arguments(text: str | None) -> dict[str, Any]:
    """`a=1,b=x` as lm-eval reads it.

    Raises:
        SFTKeyError: A part without `=`.
    """
    for part in (text or "").split(","):
        if part.strip() and not part.partition("=")[1]:
            raise SFTKeyError(f"--backend-args: found {part!r}, expected key=value pairs with commas between them")
    return dict(simple_parse_args_string(text))


def published_arguments(text: str | None) -> dict[str, str]:
    """The arguments as text, without those that are secret.

    Raises:
        SFTKeyError: As `read_arguments`.
    """
    return {name: str(value) for name, value in read_arguments(text).items() if name not in SECRET_ARGUMENTS}


def find_class(name: str) -> Any:
    """lm-eval's class of that name.

    Raises:
        SFTKeyError: No such name, or it needs a package that is not installed.
    """
    if name not in MODEL_MAPPING:
        raise SFTKeyError(f"back-end {name!r} is not one of lm-eval's{nearest(name, MODEL_MAPPING)}")
    # lm-eval loads these classes without what they need to run, so it is looked for here.
    package = {"sglang": "sglang", "local-completions": "tenacity"}.get(name)
    try:
        found = get_model(name)
        if package is not None:
            __import__(package)
    except ImportError as error:
        raise SFTKeyError(_not_installed(name, error)) from None
    return found


def is_server(name: str) -> bool:
    """Whether the model runs elsewhere, behind an address.

    Raises:
        SFTKeyError: As `find_class`.
    """
    from lm_eval.models.api_models import TemplateAPI  # here, as `hf` does without aiohttp

    found = find_class(name)
    return isinstance(found, type) and issubclass(found, TemplateAPI)


def make(found: Any, options: GenerateOptions, arguments: Mapping[str, Any]) -> Any:
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
