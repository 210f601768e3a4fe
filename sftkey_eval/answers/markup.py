r"""The surface of an answer: markup around it, unicode digits, and the many LaTeX spellings of the same thing.

Nothing here knows what an answer means. Every function is linear in the text, apart from a bounded number of passes.
"""

import re
import unicodedata

MAX_WRAPPERS = 12  # `$\text{**(B)**}$.` has four; text nested deeper than this is no answer a reader would accept

_PAIRS = (
    ("```", "```"),
    ("$$", "$$"),
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("**", "**"),
    ("*", "*"),
    ("__", "__"),
    ("`", "`"),
    ('"', '"'),
    ("'", "'"),
    ("“", "”"),
    ("‘", "’"),
)
_COMMANDS = "textbf|textit|textrm|texttt|textnormal|text|mathbf|mathrm|mathit|mathsf|mbox|emph|operatorname"
_WRAPPER = re.compile(rf"\\(?:{_COMMANDS}|framebox|boxed|fbox)\s*\{{")
_INNER_TEXT = re.compile(rf"\\(?:{_COMMANDS})\s*\{{([^{{}}]*)\}}")
_INNER_MATH = re.compile(r"(?<!\\)\$([^$]*)(?<!\\)\$")
# `**42** apples` and `\(42\) apples`; no power stands alone.
_INNER_MARKUP = re.compile(r"(?<!\S)\*\*(?!\s)([^*\n]{1,200}?)(?<!\s)\*\*(?!\S)|\\\((.{1,200}?)\\\)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TRAILING = " \t\r\n.,;:。"
# In this order: what marks thousands goes before the line that makes spaces of the others.
_SPELLINGS = (
    (re.compile(r"√\s{0,3}(?:\(([^()]{1,100})\)|(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])))"), r"\\sqrt{\1\2}"),
    (re.compile(r"∛\s{0,3}(?:\(([^()]{1,100})\)|(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z])))"), r"\\sqrt[3]{\1\2}"),
    (re.compile(r"\\(?:left|right|displaystyle|[bB]igg?[lr]?)(?![A-Za-z])"), ""),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\(?:times|cdot)(?![A-Za-z])|[×⋅·]"), "*"),
    (re.compile(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![A-Za-z]))|°"), " degrees "),
    (re.compile(r"(?<=\d)\s{0,3}\^\s{0,3}\{\s{0,3}(?:st|nd|rd|th)\s{0,3}\}"), ""),  # 12^{\text{th}}
    (re.compile(r"\\([%$#&_])"), r"\1"),
    (re.compile(r"\s{0,3}\{\s{0,3},\s{0,3}\}|(?<=\d),\\[!,;:]\s{0,3}(?=\d{3})"), ","),
    (re.compile(r"(?<=\d)(?:\\[,;:!]|[\u2009\u202f\u00a0])(?=\d{3}(?!\d))"), ""),  # thin spaces as thousands marks
    (re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~"), " "),
    (re.compile(r"\\langle(?![A-Za-z])|⟨"), "("),
    (re.compile(r"\\rangle(?![A-Za-z])|⟩"), ")"),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"∞"), r"\\infty "),
)
_DOUBLED = re.compile(
    r"(?<!\\)\\\\(?=(?:boxed|fbox|[dtc]?frac|sqrt|text(?:bf|rm|it)?|math(?:rm|bf|bb)|left|right|cdot|times|pi|infty|leq?|geq?"
    r"|neq?|in|cup|cap|pm|theta|circ|sin|cos|tan|log|ln|overline|begin|end)(?![A-Za-z]))"
)
_SINGLE = re.compile(r"(?<!\\)\\(?=[A-Za-z])")
_DASHES = "−－﹣‐‑‒–"
_FULLWIDTH = dict(zip("＋％٪．٫，٬（）＝⁄∕÷＄", "+%%..,,()=///$", strict=True))
_SIGNS = str.maketrans(dict.fromkeys(_DASHES, "-") | _FULLWIDTH)
_BARE = re.compile(r"[^\\{~\x80-\U0010ffff]*+")  # no command, brace or tie: skips the many substitutions
_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])|(?<=\\sqrt) |(?<=\\frac) ")
_BRACED_DIGIT = re.compile(r"(?:(?<=[\^_])|(?<=\\sqrt))\{(\d)\}")
_NON_ASCII = re.compile(r"[^\x00-\x7f]")


def strip_markup(text: str) -> str:
    r"""The answer without white space, `$…$`, `\text{…}`, `\boxed{…}`, emphasis, quotes and a full stop around it."""
    if text[:1].isalnum() and text[-1:].isalnum():
        return text  # nothing around it
    for _ in range(MAX_WRAPPERS):
        inner = _peel(text.strip().rstrip(_TRAILING))
        if inner == text:
            break
        text = inner
    return text


def plain(text: str) -> str:
    r"""One spelling for what LaTeX and unicode write in several ways: digits, signs, fractions, spaces, `\text`."""
    if "**" in text or "\\(" in text:
        text = _INNER_MARKUP.sub(r" \1\2 ", text)
    if _BARE.fullmatch(text):
        return (_INNER_MATH.sub(r" \1 ", text) if "$" in text else text).strip()
    text = single_backslashes(ascii_digits(text))
    # Before the spellings: once `\$` is a bare `$` it would open mathematics.
    text = _INNER_MATH.sub(r" \1 ", _INNER_TEXT.sub(r" \1 ", text))
    for pattern, spelling in _SPELLINGS:
        text = pattern.sub(spelling, text)
    return text.strip() if text.isascii() else _RAISED.sub(_on_the_line, text).strip()


# A square or a cube alone stays: it may be of a unit.
_RAISED = re.compile(r"(?P<up>[⁰¹²³⁴-⁹⁺⁻ⁿ]{2,}|[⁰¹⁴-⁹ⁿ])|(?P<down>[₀-₉]+)")
_ON_THE_LINE = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉", "0123456789+-n0123456789")


def _on_the_line(found: re.Match[str]) -> str:
    return f"{'^' if found['up'] else '_'}{{{found[0].translate(_ON_THE_LINE)}}}"


def single_backslashes(text: str) -> str:
    r"""The text with `\\frac`, as JSON within JSON leaves it, written `\frac`; line breaks of a matrix stay."""
    if "\\\\" not in text or not _DOUBLED.search(text):
        return text
    whole = not _SINGLE.search(text)  # all of it was escaped once too often
    return text.replace("\\\\", "\\") if whole else _DOUBLED.sub(r"\\", text)


def compact(text: str) -> str:
    r"""`plain` less the white space and braces that change nothing: `\sqrt{2}` is `\sqrt 2`, but `1 2` is not 12."""
    return tighten(plain(text))


def tighten(text: str) -> str:
    """The second half of `compact`, for a text that is plain already; a second `plain` may change it."""
    if text.isalnum():
        return text  # most answers
    return _BRACED_DIGIT.sub(r"\1", _LOOSE_SPACE.sub("", " ".join(text.split())))


def fold(text: str) -> str:
    """Words for comparison: case and runs of white space do not count."""
    return " ".join(text.casefold().split())


def ascii_digits(text: str) -> str:
    r"""Decimal digits of any script, signs and vulgar fractions as ASCII; superscripts stay what they are."""
    if text.isascii():
        return text
    return _NON_ASCII.sub(lambda found: _ascii(found.group()), text.translate(_SIGNS))


def matching_brace(text: str, start: int) -> int | None:
    """Position of the brace that closes the one just before `start`, None where nothing does."""
    depth = 1
    for found in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(found.group(), 0)
        if depth == 0:
            return found.start()
    return None


def _peel(text: str) -> str:
    for opening, closing in _PAIRS:
        if text.startswith(opening) and text.endswith(closing):
            inner = text[len(opening) : len(text) - len(closing)]
            bare = inner.replace("\\$", "")  # dollars of money, as in `$\$10$`
            if inner and opening not in bare and closing not in bare and not inner.endswith("\\"):
                return inner.strip()
    wrapper = _WRAPPER.match(text)
    if wrapper and matching_brace(text, wrapper.end()) == len(text) - 1:
        return text[wrapper.end() : -1].strip()
    if text.startswith("=") and any(map(str.isalnum, text)):  # `= 42`
        return text.lstrip("= ")
    if text.startswith("{") and "," not in text and matching_brace(text, 1) == len(text) - 1:
        return text[1:-1].strip()
    return text


def _ascii(character: str) -> str:
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    decomposition = unicodedata.decomposition(character)
    if decomposition.startswith("<fraction>"):
        codes = "".join(chr(int(code, 16)) for code in decomposition.split()[1:])
        above, _, below = codes.partition("⁄")
        return rf"\frac{{{above}}}{{{below}}}" if below else character
    return character
