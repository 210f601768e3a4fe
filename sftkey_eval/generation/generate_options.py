"""What to generate with: each field is a flag of `generate` and of `run`, and says if the run record holds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.options import Option, check_values
from sftkey_eval.generation.sampling import SAMPLING, Sampling

MODEL, DATA = "model", "data"
"""Parts of the run record: as what the model was loaded, and which rows of the data were asked for."""

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class AskedOptions:
    """Which model is asked about which data, and by what."""

    model: Annotated[str, Option(help="Model folder or hub name.")]
    data: Annotated[Path, Option(help="Folder written by `sftkey-data build`.")]
    backend: Annotated[
        str,
        Option(help="One of lm-eval's model back-ends: hf, vllm, sglang, local-completions, …", record=SAMPLING),
    ] = "hf"
    backend_args: Annotated[
        str | None,
        Option(help="Of the back-end, as lm-eval's model_args: base_url=http://…/v1/completions,timeout=60"),
    ] = None  # recorded without what is secret
    concurrency: Annotated[int, Option(help="Requests to a server at once.", min=1)] = 1
    batch_size: Annotated[int, Option(help="Prompts per forward pass.", min=1)] = 8


# Of several bases, dataclass takes the fields of the last first; so they are in the order of `--help`.
@dataclass(frozen=True, kw_only=True)
class GenerateOptions(Sampling, AskedOptions):
    """What to generate with; see `sftkey-eval generate --help` for each."""

    num_samples: Annotated[
        int, Option(help="Completions per item, each with a seed of its own.", min=1, record=SAMPLING)
    ] = 1
    seed: Annotated[int, Option(help="Of the sampling.", record=SAMPLING)] = 0
    special_tokens: Annotated[
        Literal["reject", "text"],
        Option(help="A question that names a special token of the model: refuse it, or encode the name as `text`."),
    ] = "reject"  # in no record: where the choice matters, one of the two completes nothing
    split: Annotated[str | None, Option(help="Only rows of this split.", record=DATA)] = None
    limit: Annotated[int | None, Option(help="Only the first rows.", min=1, record=DATA)] = None
    device: Annotated[str | None, Option(help="cuda, cuda:1, mps or cpu; default: an accelerator if there is one.")] = (
        None
    )
    dtype: Annotated[str, Option(help="auto (as stored), float32, bfloat16 or float16.", record=MODEL)] = "auto"
    name: Annotated[str | None, Option(help="Name of the run in reports; default: from the model's path.")] = None
    overwrite: Annotated[bool, Option(flag="--overwrite", help="Discard what another run left at --out.")] = False
    cache: Annotated[
        Path | None, Option(help="Folder with what this model has completed in other runs; filled too.")
    ] = None


def check_options(options: GenerateOptions) -> None:
    """Refuse what cannot work or would be ignored, whatever the model and the data are.

    Raises:
        SFTKeyError: A value is out of range or unknown, or means nothing to greedy decoding.
    """
    check_values(options)
    sampled = {"num_samples": options.num_samples > 1, "top_p": options.top_p < 1, "top_k": options.top_k > 0}
    if options.temperature == 0 and (named := [name for name, asked in sampled.items() if asked]):
        raise SFTKeyError(f"{named[0]} means nothing at temperature 0, which is greedy; expected a temperature above 0")
    if options.dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise SFTKeyError(f"dtype {options.dtype!r} is not known{nearest(options.dtype, DTYPES)}; known: {known}")
