"""Whether a sentence says yes or no: not every `no` does (`there is no clear rule`), and `not true` is false."""

import re

from sftkey_eval.answers.option_letters import read_truth
from sftkey_eval.extraction.sentences import FILLERS

_NO_DOUBT = re.compile(
    r"(?:\b(?:there\s+is|there['’]s|with|without|beyond|has|have)\s+)?\b(?:no|a|any)\s+(?:reasonable\s+)?(?:doubt|question)\b(?:\s+about\s+it)?",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|cannot|no|never|neither|nor|false|untrue)\b|n['’]t\b", re.IGNORECASE)
_WORD = re.compile(r"(?<![\w'’-])(?:yes|no|true|false)(?![\w'’-])", re.IGNORECASE)
_PAIR = re.compile(
    r"[\s\"'”’*,/)]{0,6}(?:/|or|and|nor)[\s\"'“‘*,/(]{0,6}(?:a\s)?(?:yes|no|true|false|not)\b", re.IGNORECASE
)
_HEDGE = re.compile(
    r"[\s\"'”’*,]{0,6}(?:and|or)[\s\"'“‘*,]{0,6}(?:maybe\s|perhaps\s)?(?:yes|no|true|false|not)\b", re.IGNORECASE
)
_HEAD = re.compile(
    rf"[\s\"'“‘*_(:]{{0,6}}{FILLERS}(?:(?:that|it|this|the|statement|claim|answer|is|would\sbe|a|an|clear|simple|resounding|big|of\scourse"
    r"|so|not|isn['’]t|cannot\sbe|never)[\s,:\"'“*]{1,4}){0,7}\Z",
    re.IGNORECASE,
)
_DENIED = re.compile(r"(?:\b(?:not|cannot\s+be|never|neither|nor)|n['’]t(?:\s+be)?)\s+[\"'“‘*]{0,3}\Z", re.IGNORECASE)
_NEITHER = re.compile(r"\bneither\s+[\"'“‘*]{0,3}\Z", re.IGNORECASE)
_LEADS = re.compile(
    r"(?:\A|[,;:.!?]|\b(?:is|are|be|say|says|answer|but|so|therefore|thus|hence|conclude|then|that|not|also|indeed|it['’]s)|n['’]t)"
    r"[\s\"'“‘*_(:]{0,5}\Z",
    re.IGNORECASE,
)
_ENDS = re.compile(
    r"[\s\"'”’*_)]{0,5}(?:\Z|[.,;:!?)–—-]|(?=[^\x00-\x7f])|\b(?:because|since|as|for|it|he|she|they|we|you|there|this|these|those|the|a|an|that|i"
    r"|so|but|given|in|under|if|to|when|based|according)\b)",
    re.IGNORECASE,
)
_BORDER = re.compile(r"(?<=[.!?])\s+|[。！？\n]+")


def truth_in(sentence: str) -> str | None:
    """`yes` or `no` where the sentence behind a mark says it, both where it hedges, None where it says neither."""
    if _NO_DOUBT.match(sentence):
        return (
            _undoubted(sentence)
            if not _WORD.search(_NO_DOUBT.sub("", sentence))
            else truth_in(_NO_DOUBT.sub("", sentence))
        )
    found = next((found for found in _WORD.finditer(sentence) if _HEAD.match(sentence, 0, found.start())), None)
    return _said(sentence, found) if found else None


def last_truth(text: str) -> tuple[str, int] | None:
    """What the last sentence that says yes or no says, and where that sentence begins."""
    end = len(text)
    borders = [(found.start(), found.end()) for found in _BORDER.finditer(text)]
    for border, start in [*reversed(borders), (-1, 0)]:
        if said := _last_in(text[start:end]):
            return said, start
        end = max(border, 0)
    return None


def _last_in(sentence: str) -> str | None:
    if _NO_DOUBT.search(sentence):
        return _undoubted(sentence)
    words = [
        found
        for found in _WORD.finditer(sentence)
        if _LEADS.search(sentence, max(0, found.start() - 40), found.start())
    ]
    for found in reversed(words):
        if said := _said(sentence, found):
            return said
    return None


def _undoubted(sentence: str) -> str:
    """`There is no doubt that whales are mammals` says yes, and of what is not so no."""
    return "no" if _NEGATION.search(_NO_DOUBT.sub("", sentence)) else "yes"


def _said(sentence: str, found: re.Match[str]) -> str | None:
    nearest, start, end = max(0, found.start() - 40), found.start(), found.end()
    hedges = _HEDGE.match(sentence, end)
    if _NEITHER.search(sentence, nearest, start) or (_PAIR.match(sentence, end) and not hedges):
        return None
    if hedges:
        return f"{found.group()} or {'no' if read_truth(found.group()) else 'yes'}"
    if not _ENDS.match(sentence, end):
        return None
    denied = _DENIED.search(sentence, nearest, start) is not None
    value = read_truth(found.group()) is not denied
    return ("yes" if value else "no") if denied else found.group()
