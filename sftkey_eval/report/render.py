"""Filling the report templates: one self-contained HTML page, or Markdown. Every value is escaped."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sftkey_eval.report.embed import packed
from sftkey_eval.report.example_browser import group_columns
from sftkey_eval.report.maths.katex_files import has_maths, katex_packed, katex_script
from sftkey_eval.report.printed import cell, counts, interval, p_value, percent, points, printed_size, visible_value

TEMPLATES = Path(__file__).parent / "templates"
STYLE_SHEETS = ("base.css", "charts.css", "browser.css")
THEME = ("theme.js",)
# One script in the page, in this order: a later file uses what an earlier one defines.
SCRIPTS = ("data.js", "maths.js", "card.js", "groups.js", "browser.js", "keys.js")


def page(template: str, examples: Mapping[str, Any], **values: Any) -> str:
    """A whole HTML page with styles, scripts and example data inline; it asks for nothing outside itself.

    Args:
        template: File in `templates/`.
        examples: For the list of examples: `items`, `entries` and `limit`, characters of a region.
        **values: What else the template names; one that it names and is not given is an error.
    """
    script, data = _joined(SCRIPTS), packed(examples)
    maths = [katex_script()] if has_maths(examples) else []
    found = {
        "script": _safe(script),
        "example_data": _safe(data),
        "num_entries": len(examples["entries"]),
        "data_bytes": len(data),
        "limit": examples["limit"],
        "num_left_out": examples["num_left_out"],
        "num_abridged": _num_abridged(examples),
        "filters": _filters(examples),
        "katex": _safe(katex_packed()) if maths else None,
        "group_columns": group_columns,
    }
    return _environment(TEMPLATES, html=True).get_template(template).render(**values, **found, **_frame(script, *maths))


def page_of_numbers(template: Path, *, scripts: tuple[str, ...] = (), **values: Any) -> str:
    """The same without examples, from a template of any folder; it may extend and import those of `templates/`."""
    script = _joined(scripts)
    found = {"example_data": None, "katex": None, "script": _safe(script), **_frame(*([script] if script else []))}
    return _environment(template.parent, html=True).get_template(template.name).render(**values, **found)


def _frame(*scripts: str) -> dict[str, Any]:
    """Styles, and the scripts that a page may run: that of the theme and those given."""
    theme = _joined(THEME)
    return {
        "styles": _safe(_joined(STYLE_SHEETS)),
        "theme_script": _safe(theme),
        "script_digests": [_digest(script) for script in (theme, *scripts)],
    }


def _filters(examples: Mapping[str, Any]) -> dict[str, list[str]]:
    """Values to filter by; none where all items have the same one."""
    values = {name: sorted({item[name] for item in examples["items"]}) for name in ("dataset", "type")}
    return {name: found if len(found) > 1 else [] for name, found in values.items()}


def _num_abridged(examples: Mapping[str, Any]) -> int:
    outcomes = (outcome for entry in examples["entries"] for outcome in entry["outcomes"])
    return sum(any(region == "cut" for region, _ in outcome["segments"]) for outcome in outcomes)


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names)


def _digest(script: str) -> str:
    # Of what the page's Content-Security-Policy lets run, so nothing that got in with a model's text.
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def markdown(template: str, folder: Path = TEMPLATES, **values: Any) -> str:
    """A Markdown document from a template of a folder."""
    return _environment(folder, html=False).get_template(template).render(**values)


def _safe(text: str) -> Any:
    return Markup(text)  # our own files, and base64


@cache
def _environment(folder: Path, *, html: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, TEMPLATES]),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=visible_value if html else None,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "points": points,
        "p_value": p_value,
        "counts": counts,
        "cell": cell,
        "size": printed_size,
    }
    return environment
