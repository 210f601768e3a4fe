"""Raw chain-of-thought datasets in, Arrow shards with exact Key spans out."""

from typing import TYPE_CHECKING

from sftkey_data.interface.lazy_names import lazy_names

if TYPE_CHECKING:
    from sftkey_data.errors import SFTKeyError
    from sftkey_data.interface.api import BuiltFolder, build, load

__version__ = "0.1.0"
__all__ = ["BuiltFolder", "SFTKeyError", "build", "load"]
__getattr__, __dir__ = lazy_names(
    __name__, {"interface.api": ("BuiltFolder", "build", "load"), "errors": ("SFTKeyError",)}
)
