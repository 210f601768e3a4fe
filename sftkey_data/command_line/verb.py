"""A verb whose help is short: options in panels, one line each, and what is rarely wanted under `--help-all`."""

import io
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from sftkey_data.errors import SFTKeyError
from sftkey_data.options import Panel

HELP_ALL = "--help-all"
RENAMED = {"--no-overwrite": "--overwrite (it is off where it is not given)"}
"""Options by their former names."""

_Param = TyperArgument | TyperOption


class Verb(TyperCommand):
    """A verb of a program: `app.command(cls=Verb)`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As typer does it, but `--help-all` is answered, an option of a former name is refused by its new one, and
        `--config FILE` gives what the command line leaves open.

        Raises:
            SFTKeyError: What `options_of_file` refuses, or a value in that file that the option does not take.
        """
        options = args[: args.index("--")] if "--" in args else args
        if HELP_ALL in options:
            ctx.meta[HELP_ALL] = True
            options = args = ["--help"]
        known = {name for param in self.params for name in (*param.opts, *param.secondary_opts)}
        for name in (option.partition("=")[0] for option in options):
            if name in RENAMED.keys() - known and RENAMED[name].split()[0] in known:
                ctx.fail(f"No such option: {name} is now {RENAMED[name]}")
        if (path := self._config(ctx, args)) is None:
            return super().parse_args(ctx, args)
        from sftkey_data.command_line.option_file import options_of_file

        ctx.default_map = options_of_file(path, self._params(ctx))
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            wrong = error.param.name if error.param is not None else None
            if wrong in ctx.default_map and getattr(ctx.get_parameter_source(wrong), "name", "") == "DEFAULT_MAP":
                raise SFTKeyError(f"{path}: {error.format_message()}, found {ctx.default_map[wrong]!r}") from None
            raise

    def _config(self, ctx: Any, args: list[str]) -> Path | None:
        """The file of options that the command line names."""
        param = next((param for param in self._params(ctx) if "--config" in param.opts), None)
        if param is None or "--help" in args or "-h" in args:
            return None
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        path = given.get(param.name)
        return None if path is None else Path(path)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, what the verb does, an example, and the panels that have options."""
        from rich.console import Console

        whole = bool(ctx.meta.get(HELP_ALL))
        page = Console(file=io.StringIO(), force_terminal=sys.stdout.isatty(), highlight=False)
        usage = re.sub(r"\{([^}]+)\}", r"\1", self.get_usage(ctx))
        page.print(_marked(f"`{usage}`"))
        for paragraph in self._paragraphs(whole=whole):
            page.print(_marked(paragraph))
        params = [param for param in self._params(ctx) if param.name != "help"]
        shown = [param for param in params if whole or not getattr(param, "hidden", False)]
        for panel in _panels(shown):
            page.print(panel)
        num_rare = len(params) - len(shown)
        rare = f" and {num_rare} options that are rarely needed" if num_rare else ""
        more = "" if whole else f"; `{HELP_ALL}` also the whole description{rare}"
        page.print(_marked(f"`-h`, `--help`: this text{more}."))
        formatter.write(page.file.getvalue())  # type: ignore[attr-defined]

    def _params(self, ctx: Any) -> list[_Param]:
        return [param for param in self.get_params(ctx) if isinstance(param, TyperArgument | TyperOption)]

    def _paragraphs(self, *, whole: bool) -> list[str]:
        """The first one and the example; with `whole` all of them."""
        said = f"{self.help or ''}\n\n{self.epilog or ''}".split("\n\n")
        flat = [" ".join(paragraph.split()) for paragraph in said if paragraph.strip()]
        return flat if whole else [p for n, p in enumerate(flat) if n == 0 or p.startswith("Example")]


def verb_of_one(several: str) -> type[Verb]:
    """A verb that takes one argument; `several` says what does it for more of them."""
    wrong_usage: Any = typer.BadParameter.__base__  # typer has it from click, or from a copy of its own

    class VerbOfOne(Verb):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            try:
                return super().parse_args(ctx, args)
            except wrong_usage as error:
                if "extra argument" in error.message:
                    error.message = f"{error.message.rstrip('.')}; {several}"
                raise

    return VerbOfOne


def _panels(params: Sequence[_Param]) -> list[Any]:
    """Each panel that has options, in its place; columns stand under each other over all of them."""
    from rich.panel import Panel as Box
    from rich.table import Table

    widths = [
        max((len(line) for param in params for line in cell(param).splitlines()), default=0)
        for cell in (_names, _metavar)
    ]
    boxes = []
    for panel in Panel:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(width=1, style="red")
        table.add_column(width=widths[0], style="bold cyan", no_wrap=True)
        table.add_column(width=widths[1], style="yellow")
        table.add_column(ratio=1)
        inside = [param for param in params if _panel(param) is panel]
        for param in sorted(inside, key=lambda param: (not isinstance(param, TyperArgument), not param.required)):
            table.add_row("*" if param.required else "", _names(param), _metavar(param), _marked(_help(param)))
        if table.row_count:
            boxes.append(Box(table, title=panel.value, title_align="left", border_style="dim", padding=(0, 1)))
    return boxes


_MAX_METAVAR = 24


def _panel(param: _Param) -> Panel:
    return Panel(getattr(param, "rich_help_panel", None) or Panel.OTHER)


def _names(param: _Param) -> str:
    if isinstance(param, TyperArgument):
        return param.metavar or (param.name or "").upper()
    return ", ".join(sorted((*param.opts, *param.secondary_opts), key=lambda name: name.startswith("--")))


def _metavar(param: _Param) -> str:
    if isinstance(param, TyperArgument) or param.is_flag:
        return ""
    return "\n".join(textwrap.wrap((param.metavar or "TEXT").replace("|", "| "), _MAX_METAVAR)).replace("| ", "|")


def _help(param: _Param) -> str:
    said = param.help or ""
    shown = param.show_default and param.default is not None and not isinstance(param.default, bool)
    if param.required or not shown or param.default in ("", [], ()) or callable(param.default):
        return said
    return f"{said} [default: {param.default}]"


def _marked(text: str) -> Any:
    """The text with what stands in backticks in bold, without them."""
    from rich.text import Text

    pieces = re.split(r"`([^`]+)`", text)
    return Text.assemble(*((piece, "bold" if n % 2 else "") for n, piece in enumerate(pieces)))
