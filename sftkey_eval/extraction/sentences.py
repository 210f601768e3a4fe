"""What a sentence such as `18 dollars, because …` gives as its answer."""

import re

from sftkey_eval.answers.markup import strip_markup
from sftkey_eval.answers.option_letters import Choices

MAX_ANSWER_LINE = 300  # code points after a mark in which its answer must stand

OR = re.compile(r"\b(?:or|alternatively)\b")
FILLERS = (
    r"(?:(?:indeed|exactly|only|just|simply|about|approximately|around|roughly|equal\s+to|then|thus|therefore|now|also|most"
    r"|likely|probably|definitely|certainly|clearly|actually|obviously|simply|surely)[\s,]{1,3}){0,4}"
)
"""Words between `is` and the value."""
# White space and markup before what a mark announces, a bullet, a heading or a line under one.
_LEADING = re.compile(
    r"(?:\n[ \t]{0,8}[-•·][ \t]{1,4}(?=\S)|[\s*_:>}]|</?(?:b|strong|i|em|u|p|br|code|span)\b[^<>\n]{0,40}>|&nbsp;"
    r"|#{1,6}[ \t]{1,3}(?:\w{1,12}[ \t]){0,2}(?:answer|result|solution|conclusion|explanation)s?[:*]{0,3}[ \t]{0,3}\n"
    r"|(?:={2,}|(?<=\n)-{3,})[ \t]{0,3}\n){0,40}",
    re.IGNORECASE,
)
_CLOSED_OUTSIDE = re.compile(r"(?<=[\"'])[\s,}\]]+\Z")  # what closes the JSON that a quoted answer stands in
_EMPHASIS = re.compile(r"\*\*|__")
_SENTENCE_END = re.compile(
    r"(?:(?<=\w{3})|(?<=[\d)}\]$%*])|(?<=\d\s\w)|(?<=\d\s\w\w))[.!?]+(?=\s|$)|[。！？।]|\n|</|<\||<(?=answer>|think)",
    re.IGNORECASE,
)


# `given by:`, `, in simplest form,` or `x is` before a formula that has lines of its own; not `yes, since x is`.
_ANNOUNCES = re.compile(
    r"(?:\b(?:is|are|be|was|equals?|as|by|form|get|obtain|gives?|following)\b|:)[\s:,*_]{0,10}(?P<opened>\\\[|\$\$)?\Z",
    re.I,
)
_MAX_ANNOUNCING = 40  # code points at the end of a sentence
_REASON = re.compile(r"(?:^|,)\s{0,3}(?:since|because|as|so|where|which)\b", re.IGNORECASE)
_DISPLAY = re.compile(r"\s{0,40}(?=\\\[|\$\$|\\begin\{|```)")
_BLOCK_START = re.compile(
    r"\\begin\{(?P<environment>[A-Za-z]{1,20}\*?)\}|\\\[|\\\(|\$\$|\$(?=\s{0,20}\n)|```(?:[A-Za-z]\w{0,20}(?=\s{0,20}\n))?"
)
_BLOCK_ENDS = {"\\[": "\\]", "\\(": "\\)", "$": "$", "$$": "$$"}
_QUOTE_MARK = re.compile(r"\n[ \t]{0,8}>[ \t]")  # of Markdown
_EQUATIONS = frozenset({"equation", "align", "aligned", "gather", "gathered", "multline", "split"})
_ROW_END = re.compile(r"&|\\\\(?=\s|$)")  # of equations below each other
_OPENED_ONLY = re.compile(r"(?:\\[\[(]|\\(?:boxed|fbox|text\w*|math\w*|begin)\{(?:\w*\*?\})?|[$`*_\"'“‘(\[{\s])+")


def sentence_after(text: str, start: int, *, same_line: bool) -> tuple[str, int]:
    """What a mark announces, to the end of the sentence or line and without markup, and where that ends.

    A formula or code of several lines is a sentence. Where only markup opens, behind which the text breaks off or the
    Key was cut out, nothing is announced: the sentence is empty.

    Args:
        text: Running text.
        start: Where the mark ends.
        same_line: The answer must stand on the mark's own line.
    """
    leading = _LEADING.match(text, start)
    begin = start if leading is None or same_line else leading.end()
    rest = text[begin : begin + MAX_ANSWER_LINE]
    if not same_line and (block := _block(rest, min_lines=2)) is not None:
        content, end = block
    else:
        found = _SENTENCE_END.search(rest)
        end = found.start() if found else len(rest)
        content = rest[:end]
        if not same_line and (shown := _shown(text, begin, begin + end)) is not None:
            content, end = shown[0], shown[1] - begin
    content = _CLOSED_OUTSIDE.sub("", content)
    while content.endswith("}") and content.count("}") > content.count("{"):
        content = content[:-1].rstrip()
    sentence = strip_markup(_EMPHASIS.sub("", content))
    return "" if _OPENED_ONLY.fullmatch(sentence) else sentence, begin + end


def _shown(text: str, begin: int, end: int) -> tuple[str, int] | None:
    """The formula that a sentence announces and has behind it, and where it ends; None where it announces none."""
    announces = _ANNOUNCES.search(text, max(begin, end - _MAX_ANNOUNCING), end)
    if announces is None or _REASON.search(text, begin, end):
        return None
    display = _DISPLAY.match(text, end if announces["opened"] is None else announces.start("opened"))
    if display is None:
        return None
    block = _block(text[display.end() : display.end() + MAX_ANSWER_LINE], min_lines=1)
    return None if block is None else (block[0], display.end() + block[1])


def _block(text: str, *, min_lines: int) -> tuple[str, int] | None:
    """The formula or code that a text begins with, as one line, and where it ends; None where that has fewer lines."""
    opened = _BLOCK_START.match(text)
    if opened is None:
        return None
    environment = opened["environment"]
    closing = f"\\end{{{environment}}}" if environment else _BLOCK_ENDS.get(opened[0], "```")
    stop = text.find(closing, opened.end())
    if stop < 0:  # broken off
        line = text[opened.end() :].lstrip(" \t")
        return (line.strip().partition("\n")[0], len(text)) if line.startswith("\n") else None
    content, end = _QUOTE_MARK.sub("\n", text[opened.end() : stop]).strip(), stop + len(closing)
    if text[:stop].count("\n") < min_lines - 1:
        return None
    nested = _block(content, min_lines=1)
    if nested is not None and nested[1] == len(content.rstrip(" .,")):
        content = nested[0]
    if environment and environment.rstrip("*") not in _EQUATIONS:  # a matrix
        content = f"{opened[0]} {content} {closing}"
    elif environment and "\\begin{" not in content:
        content = _ROW_END.sub(" ", content)
    return " ".join(content.split()), end


def whole_sentence(sentence: str, choices: Choices | None) -> str | None:  # noqa: ARG001 - as a kind asks for it
    """The sentence, where it says anything."""
    return sentence or None
