"""Filling the report templates: one self-contained HTML page, or Markdown. Every value is escaped."""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftkey_eval.analysis.summary import Rate
from sftkey_eval.report.embed import packed

if TYPE_CHECKING:
    import jinja2

TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("base.css", "charts.css", "browser.css")
THEME = ("theme.js",)
SCRIPTS = ("data.js", "card.js", "browser.js", "keys.js")

# C0 and C1 controls, direction marks, zero-width characters and halves of pairs: invisible, or able to reorder text.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff]")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~])")


def page(template: str, examples: Mapping[str, Any], **values: Any) -> str:
    """A whole HTML page with styles, scripts and example data inline; it asks for nothing outside itself."""
    theme, script = _joined(THEME), _joined(SCRIPTS)
    data = packed(examples)
    found = {
        "styles": _safe(_joined(STYLES)),
        "theme_script": _safe(theme),
        "script": _safe(script),
        "script_digests": [_digest(theme), _digest(script)],
        "example_data": _safe(data),
        "num_entries": len(examples["entries"]),
        "data_bytes": len(data),
        "limit": examples["limit"],
        "num_abridged": _num_abridged(examples),
        "filters": _filters(examples),
    }
    return _environment(html=True).get_template(template).render(**values, **found)


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
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def markdown(template: str, **values: Any) -> str:
    """A Markdown document."""
    return _environment(html=False).get_template(template).render(**values)


def visible(text: object) -> str:
    """Text with invisible and direction-changing characters written as ⟨U+XXXX⟩."""
    return _INVISIBLE.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", str(text))


def percent(value: float | None, digits: int = 1) -> str:
    """`36.5 %`, or a dash for no value."""
    return "–" if value is None else f"{100 * value:.{digits}f}\u202f%"


def interval(low: float | None, high: float | None) -> str:
    """`32.1 – 41.2`, in percent."""
    return "–" if low is None or high is None else f"{100 * low:.1f} – {100 * high:.1f}"


def points(value: float) -> str:
    """A difference in percentage points with its sign: `+3.2`, `−0.4`, `0.0`."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def p_value(value: float) -> str:
    """`0.032`, or `< 0.001`, with a space that does not break."""
    return "<\u202f0.001" if value < 0.001 else f"{value:.3f}"


def counts(rate: Rate) -> str:
    """`146/400`."""
    return f"{rate.k}/{rate.n}"


def size(num_bytes: int) -> str:
    """`3.2 MB`, or kB under a tenth of one."""
    return f"{num_bytes / 1e6:.1f}\u202fMB" if num_bytes >= 100_000 else f"{num_bytes / 1e3:.0f}\u202fkB"


def cell(text: object) -> str:
    """Text for a Markdown table: one line, nothing in it read as markup."""
    return _MARKDOWN.sub(r"\\\1", " ".join(visible(text).split()))


def _safe(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)  # our own files, and base64


@cache
def _environment(*, html: bool) -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
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
        "size": size,
    }
    return environment


def visible_value(value: object) -> object:
    """What the page prints for a value: markup as it is, text with its invisible characters shown."""
    return value if hasattr(value, "__html__") or not isinstance(value, str) else visible(value)
