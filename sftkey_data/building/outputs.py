"""The folders that a build fills: OUT and, where questions are held out, OUT-holdout."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from sftkey_data.building.work import PLAN, TALLIES, have_hashes, is_intact
from sftkey_data.console import tell
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import MANIFEST, Manifest, in_folder, parse_manifest
from sftkey_data.storage.output_folder import Folder

SETTLED_BY_PLAN = ("template", "options")
"""What a configuration may leave open."""


@dataclass(frozen=True, slots=True)
class Output:
    """A folder by its final name, and where it is filled until it is whole."""

    final: Folder
    half: Folder

    @property
    def title(self) -> str:
        """The last part of its name."""
        return self.final.url.rstrip("/").rpartition("/")[2]

    def is_finished(self) -> bool:
        """Whether it is whole and only waits for its name."""
        return self.half.exists() and MANIFEST in self.half.names()

    def is_begun(self, fingerprint: str) -> bool:
        """Whether pieces of this plan may lie there."""
        half = self.half
        return half.exists() and PLAN in half.names() and half.read_bytes(PLAN) == fingerprint.encode()

    def publish(self) -> None:
        """Give it its final name."""
        self.half.publish(self.final, last=MANIFEST)

    def manifest(self, fingerprint: str) -> Manifest | None:
        """The manifest of the folder, if it is whole, published or not, and of the same command over the same files.

        What lies half done decides, not what it will replace, and has to be as it was written.
        """
        found = _manifest_of(half := self.half if self.half.exists() else self.final)
        if found is None or found.fingerprint != fingerprint:
            return None
        hashes = {shard.file: shard.sha256 for shard in found.shards} | found.files
        return found if half is self.final or have_hashes(half, hashes) else None

    def has_intact_pieces(self) -> bool:
        """Whether all pieces that are done are as they were written."""
        return all(is_intact(self.half, name) for name in self.half.names() if name.startswith(TALLIES))

    def published(self) -> Manifest | None:
        """The manifest of the folder under its final name, if nothing lies half done and no shard is missing."""
        if self.half.exists() or (found := _manifest_of(self.final)) is None:
            return None
        return found if {shard.file for shard in found.shards} <= set(self.final.names()) else None


@dataclass(frozen=True, slots=True)
class BuildOutputs:
    """Where a build writes; `held` gets what is held out, and is published first."""

    main: Output
    held: Output | None

    @property
    def all(self) -> tuple[Output, ...]:
        """The folders that there are."""
        return (self.main,) if self.held is None else (self.main, self.held)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes off them meanwhile."""
        with ExitStack() as stack:
            for one in self.all:
                stack.enter_context(one.final.locked())
            try:
                yield
            finally:
                for one in self.all:
                    one.half.remove_unfinished()

    def open(self, fingerprint: str) -> None:
        """Keep the pieces of an interrupted build of the same plan; begin anew otherwise."""
        if not all(one.is_begun(fingerprint) for one in self.all):
            self.clear()
            for one in self.all:
                one.half.mark()
                one.half.write_bytes(PLAN, fingerprint.encode())

    def done(self, config: dict[str, Any]) -> Manifest | None:
        """The manifest of what is published, holdout and all, where it was asked for as this is; a plan has to agree.

        Args:
            config: As a manifest holds it; what a plan settles is not compared.
        """
        found = [one.published() for one in self.all]
        if any(one is None or _asked(one.config) != _asked(config) for one in found):
            return None
        return found[0]

    def clear(self) -> None:
        """Remove what is unfinished."""
        for one in self.all:
            if one.half.exists():
                one.half.clear()

    def publish(self) -> None:
        """Give them their final names, that of the build last: where it is, the holdout is."""
        for one in reversed(self.all):
            if one.half.exists():
                one.publish()


def _asked(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in SETTLED_BY_PLAN}


def _manifest_of(folder: Folder) -> Manifest | None:
    if not folder.exists() or MANIFEST not in folder.names():
        return None
    try:
        return parse_manifest(folder.read_bytes(MANIFEST), in_folder(folder.url, MANIFEST))
    except SFTKeyError:  # broken or changed: it is built anew
        return None


def outputs_of(out: str, *, with_holdout: bool) -> BuildOutputs:
    """The folders of a build that was asked to write `out`."""
    held = _output(f"{out.rstrip('/')}-holdout") if with_holdout else None
    return BuildOutputs(_output(out), held)


def refuse_outputs(outputs: BuildOutputs, *, overwrite: bool) -> None:
    """Refuse to write over something; say where a holdout of another build stays beside what is written over.

    Raises:
        SFTKeyError: An output, or what it is filled as, is not ours; or it is a folder that is not empty.
    """
    for one in outputs.all:
        one.final.refuse_foreign()
        one.half.refuse_foreign()
        if not overwrite and one.final.exists() and one.final.names():
            raise SFTKeyError(
                f"output folder {one.final.url} is not empty: name another --out, or replace it with --overwrite"
            )
    stale = Folder(f"{outputs.main.final.url.rstrip('/')}-holdout")
    if overwrite and outputs.held is None and stale.exists():
        tell(f"warning: {stale.url} is of another build: its questions may be trained on now", err=True)


def _output(url: str) -> Output:
    return Output(Folder(url), Folder(f"{url.rstrip('/')}.partial"))
