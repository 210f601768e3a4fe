"""What to generate with."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftkey_eval.generation.sampling import Sampling

if TYPE_CHECKING:
    pass

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """What to generate with; see `sftkey-eval generate --help` for each."""

    model: str
    data: Path
    backend: str = "hf"
    backend_args: str | None = None
    concurrency: int = 1
    batch_size: int = 8
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    num_samples: int = 1
    seed: int = 0
    split: str | None = None
    limit: int | None = None
    device: str | None = None
    dtype: str = "auto"
    name: str | None = None
    overwrite: bool = False
    cache: Path | None = None

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen."""
        return Sampling(
            max_new_tokens=self.max_new_tokens, temperature=self.temperature, top_p=self.top_p, top_k=self.top_k
        )
