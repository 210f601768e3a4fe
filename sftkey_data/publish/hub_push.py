"""Putting files of ours on a hub: named one by one, with a card, in one commit, so that all is there or nothing."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.options import Option, Panel

CARD = "README.md"
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
MADE_BY_HUB = (".gitattributes", CARD)
"""Names that a new repository may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What goes to a repository.

    Args:
        kind: Of repository.
        files: By their names there.
        card: Text of README.md, where no file has that name.
        mark: One of the names: a repository that holds files without it is none of ours.
        replaces: Patterns of names that belong together: one that is there and not pushed is removed, as a shard of an
            earlier version would be read with those of this one.
    """

    kind: Literal["model", "dataset"]
    files: Mapping[str, Path]
    card: str | None = None
    mark: str
    replaces: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class PushOptions:
    """Where to: each field is a flag of `push`."""

    repo: Annotated[str, Option(argument=True, metavar="REPO", help="OWNER/NAME on the hub.", panel=Panel.OUT)]
    private: Annotated[
        bool, Option(flag="--private", help="Where the repository is made: only you see it.", panel=Panel.SAFETY)
    ] = False
    revision: Annotated[
        str | None, Option(metavar="BRANCH", help="Made where there is none [default: main]", panel=Panel.OUT)
    ] = None
    dry_run: Annotated[
        bool, Option(flag="--dry-run", help="Say which files would go, and send nothing.", panel=Panel.SAFETY)
    ] = False


def push(pushed: Pushed, options: PushOptions) -> dict[str, Any]:
    """Make the repository where there is none, and commit the files to it.

    Who pushes is known by `HF_TOKEN` or `hf auth login`; where to, by `HF_ENDPOINT`.

    Returns:
        What was pushed, JSON-able; with `dry_run` what would be, and nothing is sent.

    Raises:
        SFTKeyError: A name that is no repository's, a file that is missing.
        Interrupted: The hub refuses, or does not answer; what was uploaded is not uploaded again.
    """
    if not REPOSITORY.fullmatch(options.repo):
        raise SFTKeyError(f"repository {options.repo!r}: expected OWNER/NAME")
    for name, path in pushed.files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:  # of a record that others wrote
            raise SFTKeyError(f"{name!r} leads out of the folder, expected the name of a file in it")
        if not path.is_file():
            raise SFTKeyError(f"{path} is missing, expected a file to push as {name}")
    names = sorted({*pushed.files, *([CARD] if pushed.card is not None else [])})
    said: dict[str, Any] = {"repo": options.repo, "kind": pushed.kind, "revision": options.revision or "main"}
    said |= {"files": names, "bytes": sum(path.stat().st_size for path in pushed.files.values())}
    if options.dry_run:
        return said | {"dry_run": True}
    with _one_fault(options.repo):
        return said | _commit(pushed, options, names)


def _commit(pushed: Pushed, options: PushOptions, names: list[str]) -> dict[str, Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    repo: dict[str, Any] = {"repo_id": options.repo, "repo_type": pushed.kind}
    api.create_repo(**repo, private=options.private or None, exist_ok=True)
    if options.revision is not None and options.revision != "main":
        api.create_branch(**repo, branch=options.revision, exist_ok=True)
    there = api.list_repo_files(**repo, revision=options.revision)
    if pushed.mark not in there and (others := set(there) - set(MADE_BY_HUB)):
        found = f"found {min(others)} and no {pushed.mark}"
        raise SFTKeyError(f"hub repository {options.repo} holds what sftkey did not push, {found}: name another")
    gone = [n for n in there if n not in names and any(fnmatch(n, pattern) for pattern in pushed.replaces)]
    contents: dict[str, str | bytes] = {} if pushed.card is None else {CARD: pushed.card.encode()}
    contents |= {name: str(path) for name, path in pushed.files.items()}
    operations: list[Any] = [CommitOperationDelete(name) for name in gone]
    operations += [CommitOperationAdd(name, contents[name]) for name in names]
    message = f"Push {len(names)} files with sftkey"
    done = api.create_commit(**repo, operations=operations, commit_message=message, revision=options.revision)
    return {"removed": gone, "url": str(done.commit_url)}


@contextmanager
def _one_fault(repo: str) -> Iterator[None]:
    """Whatever the hub or its client says is one line."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except SFTKeyError:
        raise
    except HfHubHTTPError as error:
        raise Interrupted(f"hub repository {repo}: {_one_line(error)}") from None
    except ValueError as error:  # of a card whose front matter the hub does not take
        raise SFTKeyError(f"hub repository {repo}: {_one_line(error)}") from None
    except Exception as error:
        # By its name: which HTTP library the client has depends on its version.
        of_http = any(kind.__module__.startswith("httpx") for kind in type(error).__mro__)
        if not (of_http or isinstance(error, OSError)):
            raise
        raise Interrupted(f"hub repository {repo}: no answer ({type(error).__name__}: {_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
