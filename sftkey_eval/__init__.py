"""Is the format valid, is the Key right, and where do the errors come from."""

from typing import TYPE_CHECKING

from sftkey_data.interface.lazy_names import lazy_names

if TYPE_CHECKING:
    from sftkey_eval.api import ComparedRuns, ScoredFile, compare, score
    from sftkey_eval.frames import load_verdicts, rates, tables

__all__ = ["ComparedRuns", "ScoredFile", "compare", "load_verdicts", "rates", "score", "tables"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "api": ("ComparedRuns", "ScoredFile", "compare", "score"),
        "frames": ("load_verdicts", "rates", "tables"),
    },
    extra="eval",
    needs=("jinja2", "matplotlib", "pandas", "scipy"),
)
