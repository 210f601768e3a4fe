"""What the three programs share at the terminal: printing, one-line errors, exit codes, progress."""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_data.errors import SFTKeyError, Stopped
from sftkey_data.starting.quiet_imports import ON_INTERRUPT

if TYPE_CHECKING:
    import typer
    from rich.progress import Progress
    from rich.text import Text

MAX_LINE = 2_000
# C0 and C1 controls but tab and line feed, direction marks, zero-width characters and halves of pairs: they steer a
# terminal, reorder text, or cannot be seen.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
_next: list[tuple[str, str]] = []  # program and words of the command that goes on from here, said last
_finished: list[str] = []  # bars of a run that is no terminal's; shown when it ends well, so an error stands alone
INTERRUPTED = 130  # what typer exits with after Ctrl-C: 128 + SIGINT


def run_program(app: "typer.Typer") -> None:
    """Run a program: what a user can mend is one line on stderr and exit 1, wrong usage exits 2, Ctrl-C exits 130."""
    try:
        _run(app)
    except Stopped as stopped:
        sys.stderr.write(f"interrupted: {_one_line(stopped.kept)}\n" if stopped.kept else "")
        sys.exit(stopped.code)
    except SFTKeyError as error:
        _fail(str(error))
    except OSError as error:  # a disk, a file, a right: nobody below has said it better
        said = error.strerror or str(error) or type(error).__name__
        _fail(f"{error.filename}: {said}" if error.filename is not None else said)
    except KeyboardInterrupt:  # after a verb, or within what turns it into something else
        sys.stderr.write(f"{ON_INTERRUPT}\n")
        sys.exit(INTERRUPTED)


def _run(app: "typer.Typer") -> None:
    import typer

    wrong_usage: Any = typer.BadParameter.__base__  # typer has it from click, or from a copy of its own
    try:
        code = app(standalone_mode=False, prog_name=app.info.name) or 0
    except wrong_usage as error:
        code = error.exit_code
        if message := error.format_message():  # none where the help was shown, as nothing was asked for
            sys.stderr.write(f"error: {_one_line(_where(error) + message)}\n")
    except typer.Abort:
        code = INTERRUPTED
    sys.stdout.flush()  # what is left in it may still find a full disk
    if not code:
        sys.stderr.write("".join((*_finished, *_next_line(app.info.name or ""))))
    if code == INTERRUPTED:
        sys.stderr.write(f"{ON_INTERRUPT}\n")
    sys.exit(code)


def _where(error: Any) -> str:
    return f"{error.ctx.command_path}: " if error.ctx is not None else ""


def _fail(message: str) -> None:
    sys.stderr.write(f"error: {_one_line(message)}\n")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.exit(1)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - else Python tries again at its end, and says so
    sys.exit(1)


def _one_line(message: str) -> str:
    """The message as one line of bearable length; what a row holds must not steer the terminal."""
    line = " ".join(message.splitlines())
    if len(line) > MAX_LINE:
        line = f"{line[: MAX_LINE // 2]} … {line[-MAX_LINE // 2 :]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def visible(text: object) -> str:
    """Text with what steers a terminal, reorders text or cannot be seen written as ⟨U+XXXX⟩; tabs and lines stay."""
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))


def tell(text: str, *, err: bool = False) -> None:
    """Text on stdout (or stderr) and a line end: no file name, label or data in it can steer the terminal."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"{visible(text)}\n")
    stream.flush()


def tell_in_colour(lines: "Iterable[Text]") -> None:
    """As `tell` on stdout, in the styles of each line; nothing appears where making a line fails."""
    from rich.console import Console
    from rich.text import Text

    output = Console(soft_wrap=True, highlight=False)
    for line in list(lines):
        edges = [edge for found in _INVISIBLE.finditer(line.plain) for edge in found.span()]
        pieces = line.divide(edges)
        for piece in pieces:
            piece.plain = visible(piece.plain)
        output.print(Text("").join(pieces))


def say(line: str) -> None:
    """One line on stderr; of a run that is no terminal's it is held back as its bars are, so an error stands alone."""
    if sys.stderr.isatty():
        tell(line, err=True)
    else:
        _finished.append(f"{visible(line)}\n")


def next_command(program: str, *words: object, into: str | None = None) -> None:
    """Say, as the last line on stderr and only where all went well, which command goes on from what was made.

    Args:
        program: By its own name; a user of `sftkey`, which has the others under it, is told `sftkey data`.
        words: The arguments.
        into: A file for its stdout.
    """
    _next[:] = [(program, shlex.join(str(word) for word in words) + (f" > {into}" if into else ""))]


def next_with_output(usual: str, program: str, command: Callable[[str], Sequence[object]]) -> None:
    """As `next_command`, where the next command reads what this one has written to stdout.

    Args:
        usual: What such a file is called: on a terminal, where there is none yet, the same command again is proposed,
            into this one; it also stands for a file of which the shell does not say the name, as behind a pipe.
        program: As of `next_command`.
        command: From the name of the file to the words.
    """
    if sys.stdout.isatty():
        _next[:] = [("", f"{shlex.join(sys.argv[1:])} > {usual}")]
    else:
        next_command(program, *command(_redirected_to() or usual))


def _redirected_to() -> str | None:
    """The file that stdout goes to, as it is named from here; only Linux says it."""
    try:
        file = Path(os.readlink(f"/proc/self/fd/{sys.stdout.fileno()}"))  # noqa: PTH115 - a pipe's is no path
    except OSError:
        return None
    if not file.is_file():
        return None
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _next_line(called: str) -> list[str]:
    """The line, as the user of the program `called` types its command."""
    return [f"next: {visible(f'{_typed(program, called)} {words}')}\n" for program, words in _next]


def _typed(program: str, called: str) -> str:
    return program.replace("-", " ", 1) if program.startswith(f"{called}-") else program or called


@contextmanager
def progress(description: str, total: int | None = None, *, shown: bool = True) -> "Iterator[Progress]":
    """A progress bar with ETA on stderr, holding one task; advance it with `bar.advance(bar.task_ids[0], n)`.

    With `shown=False` it is never seen: of several processes that do the same work, one has a bar.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not (shown and console.is_terminal)) as bar:
        bar.add_task(visible(description), total=total)
        try:
            yield bar
        except BaseException:
            bar.live.transient = True  # leave stderr to the one line that says what went wrong
            bar.live.stop()
            bar.console.quiet = True
            raise
        for task in bar.tasks:  # where nobody could say how many there are, they are counted now
            bar.update(task.id, total=task.completed if task.total is None else task.total)
    if shown and not console.is_terminal:
        with console.capture() as captured:
            console.print(bar.get_renderable())
        _finished.append(captured.get())
