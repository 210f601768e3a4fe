"""Region weights inside the trainers of others: transformers' `Trainer` and TRL's `SFTTrainer`."""

from typing import TYPE_CHECKING

from sftkey_data.interface.lazy_names import lazy_names

if TYPE_CHECKING:
    from sftkey_train.trl.region_collator import RegionCollator
    from sftkey_train.trl.region_trainer import with_region_weights

__all__ = ["RegionCollator", "with_region_weights"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {"region_collator": ("RegionCollator",), "region_trainer": ("with_region_weights",)},
    extra="train",
    needs=("accelerate", "torch"),
)
