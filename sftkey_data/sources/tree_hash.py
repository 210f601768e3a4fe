"""SHA-256 tree hash: the hash of a file made of the hashes of its leaves, which nobody has to compute in order.

The one that Amazon S3 Glacier defines, a Merkle tree: leaves of 1 MiB, the last one shorter; hashes are joined in pairs
and hashed again, one without a pair moves up as it is, until one is left. So the hash of up to 1 MiB is its SHA-256.
Source: https://docs.aws.amazon.com/amazonglacier/latest/dev/checksum-calculations.html
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from sftkey_data.guards.regular_file import regular

LEAF_BYTES = 2**20


def tree_root(leaves: Iterable[bytes]) -> str:
    """The tree hash, in hexadecimal.

    Args:
        leaves: SHA-256 of each leaf, in order, 32 bytes each; none of an empty file.
    """
    level = list(leaves) or [hashlib.sha256().digest()]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        alone = level[-1:] if len(level) % 2 else []
        level = [hashlib.sha256(left + right).digest() for left, right in pairs] + alone
    return level[0].hex()


def file_tree_hash(path: Path) -> str:
    """The tree hash of a local file."""
    with regular(path).open("rb") as file:
        return tree_root(hashlib.sha256(leaf).digest() for leaf in iter(lambda: file.read(LEAF_BYTES), b""))
