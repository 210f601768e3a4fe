"""What the numbers and codes of a report mean, in plain words; the words are in `templates/glossary.toml`."""

import tomllib
from functools import cache

from sftkey_eval.report.render import TEMPLATES


def terms(*sections: str) -> dict[str, str]:
    """Terms and their meanings of some sections, in order."""
    return {term: meaning for section in sections for term, meaning in _sections()[section].items()}


@cache
def _sections() -> dict[str, dict[str, str]]:
    return tomllib.loads((TEMPLATES / "glossary.toml").read_text(encoding="utf-8"))
