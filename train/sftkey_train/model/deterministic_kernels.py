"""Kernels that give the same bits every time, where a recipe asks for them; what has none is refused by its name."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn

from sftkey_data.errors import SFTKeyError

WORKSPACE, SAME_BITS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
"""What cuBLAS reads once, as it starts, and the two values with which its results are always the same."""
OF_FLASH_ATTENTION = "FLASH_ATTENTION_DETERMINISTIC"  # read by transformers at each call
_NO_KERNEL = re.compile(r"(.+?) does not have a deterministic implementation")


@contextmanager
def deterministic_kernels(device: torch.device, *, when: bool) -> Iterator[None]:
    """While open, torch and FlashAttention compute the same bits every time, or an operation fails.

    To be opened before anything runs on a GPU: what cuBLAS reads stays set, as it would not look again.

    Args:
        device: What is computed on.
        when: False: nothing happens.

    Raises:
        SFTKeyError: cuBLAS is told otherwise, or has started already.
    """
    if not when:
        yield
        return
    if device.type == "cuda":
        _tell_cublas()
    flash, enabled = os.environ.get(OF_FLASH_ATTENTION), torch.are_deterministic_algorithms_enabled()
    warns, of_cudnn = torch.is_deterministic_algorithms_warn_only_enabled(), (cudnn.deterministic, cudnn.benchmark)
    os.environ[OF_FLASH_ATTENTION] = "1"
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False  # no kernel is chosen by a clock
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = of_cudnn
        torch.use_deterministic_algorithms(enabled, warn_only=warns)
        if flash is None:
            del os.environ[OF_FLASH_ATTENTION]
        else:
            os.environ[OF_FLASH_ATTENTION] = flash


def _tell_cublas() -> None:
    found = os.environ.get(WORKSPACE)
    if found is None and torch.cuda.is_initialized():
        raise SFTKeyError(
            f"deterministic = true: a GPU was used before in this process, expected {WORKSPACE}={SAME_BITS[0]} from "
            "its beginning"
        )
    if found not in (None, *SAME_BITS):
        raise SFTKeyError(f"deterministic = true needs {WORKSPACE}={' or '.join(SAME_BITS)}, found {found!r}")
    os.environ.setdefault(WORKSPACE, SAME_BITS[0])


@contextmanager
def missing_kernels_named() -> Iterator[None]:
    """Say in one line which operation `deterministic_kernels` has made fail.

    Raises:
        SFTKeyError: The operation has no such kernel on this device.
    """
    try:
        yield
    except RuntimeError as error:
        if (found := _NO_KERNEL.search(str(error))) is None:
            raise
        raise SFTKeyError(
            f"deterministic = true: torch has no deterministic kernel of {found[1]}; leave the option out, or what "
            "needs this operation"
        ) from error
