"""What of a prepared folder goes to a hub: the files that its manifest knows, and its card."""

from pathlib import Path

from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import MANIFEST, check_hash
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.publish.hub_push import CARD, Pushed
from sftkey_data.verify.check_files import check_files


def pushed_data(folder: Path) -> Pushed:
    """The files of a prepared folder, each as it was written.

    Raises:
        SFTKeyError: It is no prepared folder, or a file in it is missing, changed or not listed.
    """
    prepared = open_prepared(folder)
    check_files(prepared)
    for shard in prepared.manifest.shards:
        check_hash(folder / shard.file, shard.sha256, prepared.at(shard.file))
    names = [MANIFEST, *(shard.file for shard in prepared.manifest.shards), *prepared.manifest.files]
    if not (folder / CARD).is_file():
        raise SFTKeyError(f"{folder}: no {CARD}, expected the card that a build writes")
    return Pushed(
        kind="dataset",
        files={name: folder / name for name in dict.fromkeys([CARD, *names])},
        mark=MANIFEST,
        replaces=("data-*.arrow",),
    )
