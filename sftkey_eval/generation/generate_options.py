"""What to generate with: each field is a flag of `generate` and of `run`, and says if the run record holds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from sftkey_data.command_line.usual_options import ConfigFile
from sftkey_data.errors import SFTKeyError, nearest
from sftkey_data.options import Option, Panel, check_values
from sftkey_eval.generation.sampling import SAMPLING, Sampling

MODEL, DATA = "model", "data"
"""Parts of the run record: as what the model was loaded, and which rows of the data were asked for."""

Concurrency = Annotated[int, Option(help="Requests to a server at once.", min=1, panel=Panel.SPEED)]

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class AskedOptions:
    """Which model is asked about which data, and by what."""

    model: Annotated[str, Option(metavar="DIR|NAME", help="Model folder or hub name.", panel=Panel.IN)]
    data: Annotated[Path, Option(metavar="DIR", help="Folder written by `sftkey-data build`.", panel=Panel.IN)]
    backend: Annotated[
        str,
        Option(
            metavar="NAME",
            help="Of lm-eval: hf, vllm, sglang, local-completions, …",
            record=SAMPLING,
            panel=Panel.GENERATION,
        ),
    ] = "hf"
    backend_args: Annotated[
        str | None,
        Option(
            metavar="ARGS",
            help="Of the back-end, as lm-eval's model_args: base_url=http://…/v1/completions,timeout=60",
            panel=Panel.GENERATION,
            rare=True,
        ),
    ] = None  # recorded without what is secret
    concurrency: Concurrency = 1
    batch_size: Annotated[int, Option(help="Prompts per forward pass.", min=1, panel=Panel.SPEED)] = 8


# Of several bases, dataclass takes the fields of the last first; so they are in the order of `--help`.
@dataclass(frozen=True, kw_only=True)
class GenerateOptions(Sampling, AskedOptions):
    """What to generate with; see `sftkey-eval generate --help` for each."""

    num_samples: Annotated[
        int, Option(help="Completions per item.", min=1, record=SAMPLING, panel=Panel.GENERATION)
    ] = 1
    seed: Annotated[int, Option(help="Of the sampling.", record=SAMPLING, panel=Panel.GENERATION, rare=True)] = 0
    special_tokens: Annotated[
        Literal["reject", "text"],
        Option(
            help="A question that names a special token: refuse it, or encode the name.",
            panel=Panel.SAFETY,
            rare=True,
        ),
    ] = "reject"  # in no record: where the choice matters, one of the two completes nothing
    split: Annotated[str | None, Option(help="Only rows of this split.", record=DATA, panel=Panel.IN)] = None
    limit: Annotated[int | None, Option(help="Only the first rows.", min=1, record=DATA, panel=Panel.IN)] = None
    device: Annotated[
        str | None,
        Option(metavar="cuda|cuda:1|mps|cpu", help="[default: an accelerator if there is one]", panel=Panel.SPEED),
    ] = None
    dtype: Annotated[
        str, Option(metavar="|".join(DTYPES), help="`auto`: as stored.", record=MODEL, panel=Panel.SPEED, rare=True)
    ] = "auto"
    name: Annotated[
        str | None, Option(help="Of the run in reports [default: from the model's path]", panel=Panel.OUT)
    ] = None
    config: ConfigFile = None
    overwrite: Annotated[
        bool, Option(flag="--overwrite", help="Discard what another run left at --out.", panel=Panel.SAFETY)
    ] = False
    cache: Annotated[
        Path | None,
        Option(
            metavar="DIR",
            help="What this model has completed in other runs; filled too.",
            panel=Panel.SPEED,
            rare=True,
        ),
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
