"""Prompts by the tokenizer's own chat template, which must leave completions alone."""

import hashlib
from functools import cached_property
from os.path import commonprefix
from typing import TYPE_CHECKING

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Parts, Reject
from sftkey_data.prepare.prompts import conversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHAT_PROBES = (
    "<Thinking>\n7 + 65 = 72\n\n  so 72\n</Thinking>\n<Answer>\n72\n</Answer>",
    "<think>\nHalf of it.\n</think>\n\\boxed{\\frac{1}{2}}",
    "72 > 65 & \"7\" < '8'.\n\n#### 72",
    "Ça va: ½ é e\u0301 日本語.\nThe answer is B.",
)
"""Completions that a chat template may touch: tags, LaTeX, HTML's characters, a leading digit, blank lines, Unicode.

None has white space at its ends: many templates trim a turn, which changes nothing where there is nothing to trim; a
row that does lose white space is rejected.
"""

QUESTION = "What is 7 + 65?"
FIXED_DATE = '{%- set strftime_now = "26 Jul 2024".format -%}'
"""Put before a template that writes today's date: built tomorrow, the same rows must have the same bytes.

A template calls `strftime_now` with a format. `str.format` takes it and gives the text itself, as that has no fields.
"""


class ChatFormat:
    """Prompts by a tokenizer's chat template; refuses a template that does not leave completions alone.

    Args:
        tokenizer: With a chat template.
        system: System prompt of every example; a conversation's own is kept when None.

    Attributes:
        turn_start: What the template writes between the last question and a completion.
        turn_end: What it writes after a completion.
        eos_token_id: The added token with which `turn_end` begins, as a model learns to stop at it; else the EOS.

    Raises:
        SFTKeyError: No template, or one that rewrites, drops or repeats a completion, loses a turn, refuses the system
            role, or prompts otherwise for generation than it writes in training.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", system: str | None) -> None:
        self._name = tokenizer.name_or_path
        if not tokenizer.chat_template:
            raise SFTKeyError(f"tokenizer {self._name!r} has no chat template, expected one for --chat")
        self._tokenizer = tokenizer
        self._system = system
        try:
            template = tokenizer.get_chat_template()
        except ValueError as error:
            raise SFTKeyError(f"the chat template of {self._name!r}: {_first_line(error)}") from None
        self._template = FIXED_DATE + template if "strftime_now" in template else template
        self.turn_start, self.turn_end = self._probe()
        self.eos_token_id = self._turn_end_token()

    @property
    def digest(self) -> str:
        """SHA-256 over the chat template and the system prompt."""
        return hashlib.sha256(f"{self._template}\0{self._system}".encode()).hexdigest()

    def prompt(self, parts: Parts, completion: str) -> str:
        """What stands before the completion in the rendered conversation, which is rendered once.

        Raises:
            Reject: `empty_prompt`; `chat_template_refuses` where the template fails on this conversation;
                `chat_template_rewrites` where the completion is not found unchanged at the end.
        """
        messages = conversation(parts, self._system)
        try:
            whole = self._render([*messages, {"role": "assistant", "content": completion}])
        except Exception as error:  # noqa: BLE001 - a template is a program: whatever it raises is its own reason
            raise Reject("chat_template_refuses", _first_line(error)) from None
        if not whole.endswith(f"{self.turn_start}{completion}{self.turn_end}"):
            found = whole.rpartition(self.turn_start)[2] if self.turn_start else whole
            raise Reject("chat_template_rewrites", f"{_ends(completion)} is rendered as {_ends(found)}")
        return whole[: len(whole) - len(completion) - len(self.turn_end)]

    def question(self, prompt: str) -> str:
        """The last user turn of a prompt that `prompt` gave."""
        asked = prompt.removesuffix(self.turn_start)
        return (asked.rpartition(self._user_start)[2] if self._user_start else asked).strip()

    @cached_property
    def _user_start(self) -> str:
        """What every user turn begins with: the text that stands before a question after whatever turns."""
        histories = ((), (("user", "a"), ("assistant", "b")), (("user", "c"), ("assistant", "d")))
        prompts = [self.prompt(Parts(prompt=QUESTION, cot="", key="", history=h), CHAT_PROBES[0]) for h in histories]
        # what they end with alike is what their reversed texts begin with alike
        heads = [prompt.rpartition(QUESTION)[0][::-1] for prompt in prompts]
        return commonprefix(heads)[::-1]  # noqa: RUF071 - characters are meant, not folders

    def _probe(self) -> tuple[str, str]:
        """What the template writes before and after every completion, found on probes."""
        layouts = set[tuple[str, str]]()
        for messages in self._probe_conversations():
            try:
                asked = self._render(messages, generation_prompt=True)
                renders = [self._render([*messages, {"role": "assistant", "content": probe}]) for probe in CHAT_PROBES]
            except Exception as error:  # noqa: BLE001 - as above
                roles = ", ".join(message["role"] for message in messages)
                raise self._refusal(f"fails on turns of {roles}: {_first_line(error)}") from None
            for message in messages:
                if message["content"].strip() not in asked:
                    raise self._refusal(f"drops or rewrites the {message['role']} turn {message['content'][:60]!r}")
            layouts |= {self._layout(asked, probe, whole) for probe, whole in zip(CHAT_PROBES, renders, strict=True)}
        if len(layouts) > 1:
            raise self._refusal(f"writes different texts around completions: {sorted(layouts)}")
        return layouts.pop()

    def _layout(self, asked: str, probe: str, whole: str) -> tuple[str, str]:
        """The text between question and completion, and the text after the completion."""
        found = whole.count(probe)
        if found == 0:
            written = whole.removeprefix(asked)[-200:]
            raise self._refusal(f"rewrites or drops part of the completion: {probe!r} is rendered as {written!r}")
        if found > 1:
            raise self._refusal(f"writes the completion {found} times")
        before, _, after = whole.partition(probe)
        if not before.startswith(asked):
            raise self._refusal(
                f"prompts for generation with {asked[-80:]!r}, but in training writes {before[-80:]!r} there"
            )
        return before.rpartition(QUESTION)[2], after

    def _refusal(self, fault: str) -> SFTKeyError:
        return SFTKeyError(f"the chat template of {self._name!r} {fault}")

    def _probe_conversations(self) -> list[list[dict[str, str]]]:
        system = [] if self._system is None else [{"role": "system", "content": self._system}]
        earlier = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]
        question = {"role": "user", "content": QUESTION}
        return [[*system, question], [*system, *earlier, question]]

    def _turn_end_token(self) -> int:
        added = {str(token.content): index for index, token in self._tokenizer.added_tokens_decoder.items()}
        for content in sorted(added, key=len, reverse=True):  # one may be the beginning of another
            if self.turn_end.lstrip().startswith(content):
                return int(added[content])
        return int(self._tokenizer.eos_token_id)

    def _render(self, messages: list[dict[str, str]], *, generation_prompt: bool = False) -> str:
        rendered = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, tokenize=False, add_generation_prompt=generation_prompt
        )
        return str(rendered)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _ends(text: str) -> str:
    return repr(text) if len(text) <= 120 else f"{text[:60]!r} … {text[-60:]!r}"
