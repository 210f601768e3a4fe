"""The arguments that a chat template takes besides the conversation: which there are; and a date that stays."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from sftkey_data.errors import SFTKeyError, nearest

TODAY = "strftime_now"
"""The function of today's date by the name that templates call it; as an argument, the day that it takes for today."""

FIXED_DAY = date(2024, 7, 26)
"""Today, where no argument says another day: built tomorrow, the same rows must have the same bytes.

It is the date that Llama 3.1's template writes where it knows none.
"""

_FIELDS = "aAbBcdHIjmMpSuUVwWxXyY"  # of `strftime`

_GIVEN = {"messages", "add_generation_prompt", "raise_exception"}
"""What transformers itself hands to every template; the special tokens too, which are the tokenizer's."""

_MARKS_OF_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")  # transformers' own tag, unknown to jinja2


def argument_names(template: str, special_names: Mapping[str, Any]) -> list[str]:
    """The names that a chat template reads and nobody sets, sorted; none where it is not valid.

    Args:
        template: In Jinja.
        special_names: The tokenizer's special tokens by name, such as `bos_token`, which are no arguments.

    Raises:
        SFTKeyError: It has a power, such as `9**9**9`, which is one step of Python's that no signal ends.
    """
    from jinja2 import Environment, TemplateSyntaxError, meta, nodes  # most builds have no chat template

    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        tree = environment.parse(_MARKS_OF_GENERATION.sub("", template))
    except TemplateSyntaxError:
        return []
    if tree.find(nodes.Pow) is not None:
        raise SFTKeyError(
            "the chat template has a power (`**`), which may never end; expected what a conversation needs"
        )
    free = meta.find_undeclared_variables(tree) - environment.globals.keys() - _GIVEN - special_names.keys()
    # A name that is set in a branch or a loop counts as free; an argument among these is asked for with `is defined`.
    set_within = {name.name for name in tree.find_all(nodes.Name) if name.ctx == "store"}
    asked_for = {test.node.name for test in tree.find_all(nodes.Test) if isinstance(test.node, nodes.Name)}
    return sorted(free - (set_within - asked_for))


def check_arguments(given: Mapping[str, Any], known: Sequence[str], tokenizer: str) -> None:
    """Refuse what the chat template of a tokenizer does not read.

    Raises:
        SFTKeyError: Names the first such argument and what the template takes.
    """
    for name in given:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise SFTKeyError(
                f"--chat-arg {name}: not read by the chat template of {tokenizer!r}{nearest(name, known)}; {takes}"
            )


def dated(template: str, day: object = None) -> str:
    """The chat template with a date of its own for today's: of `day`, or of `FIXED_DAY`.

    Raises:
        SFTKeyError: `day` is none.
    """
    try:
        today = FIXED_DAY if day is None else date.fromisoformat(str(day))
    except ValueError:
        expected = f"expected the day to take for today, for example {FIXED_DAY}"
        raise SFTKeyError(f"--chat-arg {TODAY}: found {day!r}, {expected}") from None
    # A macro, as transformers hands on no functions; `+%}` keeps a line break with which the template may begin.
    fields = "".join(f".replace('%{field}', '{today.strftime(f'%{field}')}')" for field in _FIELDS)
    return f"{{% macro {TODAY}(format) -%}}{{{{ format{fields} }}}}{{%- endmacro +%}}{template}"
