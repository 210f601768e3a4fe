"""What a piece of code holds in memory, seen from the tensors it makes; and the device that it runs on."""

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Largest(TorchDispatchMode):
    """The most elements a result of any operation had while open."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            self.elements = max(self.elements, tensor.numel() if isinstance(tensor, Tensor) else 0)
        return result


def device_named(name: str) -> torch.device:
    """The device of that name; skips the test where there is none, as in `make test-all`."""
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    return torch.device(name)
