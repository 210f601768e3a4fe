"""Prompts by the tokenizer's own chat template, which must leave completions alone."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract.parts import Parts, Reject
from sftkey_data.format.template import Template
from sftkey_data.guards.memory_bound import bounded_memory
from sftkey_data.prepare.chat_arguments import TODAY, argument_names, check_arguments, dated
from sftkey_data.prepare.prompts import conversation, rendered_prompt
from sftkey_data.prepare.render_limit import MAX_RENDER_SECONDS, EndlessRender, render_limit

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHAT_PROBES = (
    ("7 + 65 = 72\n\n  so 72", "72"),
    ("Half of it.", "\\frac{1}{2}"),
    ("72 > 65 & \"7\" < '8'.", "72"),
    ("Ça va: ½ é e\u0301 日本語.", "B"),
)
"""CoTs and Keys that a chat template may touch: LaTeX, HTML's characters, a leading digit, blank lines, Unicode.

None has white space at its ends: many templates trim a turn, which changes nothing where there is nothing to trim; a
row that does lose white space is rejected.
"""

QUESTION = "What is 7 + 65?"

Messages = list[dict[str, str]]


class _NotAlone(Exception):  # noqa: N818 - a finding that may have another way out, else shown as an `SFTKeyError`
    """The chat template does not leave a completion alone."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """What stands around every completion; `asked`: its beginning is the prompt for generation, not the render."""

    start: str
    end: str
    asked: bool = False


class ChatFormat:
    """Prompts by a tokenizer's chat template; refuses one that does not leave what the output template writes alone.

    A chat template that knows the closing tag of the output template's CoT (`</think>`) may move or drop the thoughts
    of a turn when it renders it. There the prompt is the one for generation and the completion follows it as it is:
    that is what a model sees and writes.

    Args:
        tokenizer: With a chat template.
        template: Of the completions.
        system: System prompt of every example; a conversation's own is kept when None.
        arguments: Of the chat template, by name.

    Attributes:
        turn_start: What stands between the last question and a completion.
        turn_end: What the chat template writes after a completion.
        eos_token_id: The added token with which `turn_end` begins, as a model learns to stop at it; else the EOS.

    Raises:
        SFTKeyError: No chat template, an argument that it does not read, or one that rewrites, drops or repeats a
            completion, loses a turn, refuses the system role, or prompts otherwise for generation than it writes in
            training.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: Template,
        system: str | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self._name = tokenizer.name_or_path
        if not tokenizer.chat_template:
            raise SFTKeyError(f"tokenizer {self._name!r} has no chat template, expected one for --chat")
        self._tokenizer = tokenizer
        self._output = template
        self._system = system
        try:
            written = tokenizer.get_chat_template()
        except ValueError as error:
            raise SFTKeyError(f"the chat template of {self._name!r}: {_first_line(error)}") from None
        with self._limited():  # Jinja computes what is constant when it only looks at a template
            self._known = argument_names(written, tokenizer.special_tokens_map)
        self._arguments = dict(arguments or {})
        check_arguments(self._arguments, self._known, self._name)
        day = self._arguments.pop(TODAY, None)
        self._template = dated(written, day) if TODAY in self._known else written
        self._layout = self._probe()
        self.turn_start, self.turn_end = self._layout.start, self._layout.end
        self.eos_token_id = self._turn_end_token()

    @property
    def digest(self) -> str:
        """SHA-256 over all that decides a prompt: chat template, arguments, system prompt, output template."""
        facts = [self._template, self._arguments, self._system, self._output.digest]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def prompt(self, parts: Parts, completion: str) -> str:
        """What stands before the completion in the conversation, which is rendered once.

        Raises:
            Reject: `empty_prompt`; `other_prompt` for a rendered one that ends otherwise; `chat_template_refuses` where
                the template fails on this conversation; `chat_template_rewrites` where the completion is not found
                unchanged at the end.
        """
        if parts.rendered:
            return rendered_prompt(parts, self._system, self.turn_start)
        messages = conversation(parts, self._system)
        try:
            if self._layout.asked:
                return self._generation_prompt(messages)
            whole = self._render([*messages, {"role": "assistant", "content": completion}])
        except SFTKeyError:  # it does not end: no fault of this row
            raise
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
        completion = _written(self._output, *CHAT_PROBES[0])
        prompts = [self.prompt(Parts(prompt=QUESTION, cot="", key="", history=h), completion) for h in histories]
        # what they end with alike is what their reversed texts begin with alike
        heads = [prompt.rpartition(QUESTION)[0][::-1] for prompt in prompts]
        return commonprefix(heads)[::-1]  # noqa: RUF071 - characters are meant, not folders

    def _probe(self) -> _Layout:
        """What the chat template writes before and after every completion, found on probes."""
        try:
            return self._rendered_layout([_written(self._output, cot, key) for cot, key in CHAT_PROBES])
        except _NotAlone as fault:
            closing = self._output.tags.get("cot_close")
            if closing is None or closing not in self._template:
                raise self._refusal(str(fault)) from None
        try:
            end = self._rendered_layout([cot for cot, _ in CHAT_PROBES]).end
        except _NotAlone as fault:
            raise self._refusal(str(fault)) from None
        starts = {self._generation_prompt(turns).rpartition(QUESTION)[2] for turns in self._probe_conversations()}
        if len(starts) > 1:
            raise self._refusal(f"prompts for generation with different texts: {sorted(starts)}")
        start = starts.pop()
        if (opening := self._output.tags["cot_open"]) in start:
            raise self._refusal(
                f"prompts for generation with {start!r}, where template {self._output.name!r} writes {opening!r} itself"
            )
        return _Layout(start, end, asked=True)

    def _rendered_layout(self, probes: list[str]) -> _Layout:
        """The one layout of completions that are rendered unchanged."""
        layouts = set[_Layout]()
        for messages in self._probe_conversations():
            try:
                asked = self._generation_prompt(messages)
                renders = [self._render([*messages, {"role": "assistant", "content": probe}]) for probe in probes]
            except SFTKeyError:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                roles = ", ".join(message["role"] for message in messages)
                raise self._refusal(f"fails on turns of {roles}: {_first_line(error)}") from None
            for message in messages:
                if message["content"].strip() not in asked:
                    raise self._refusal(f"drops or rewrites the {message['role']} turn {message['content'][:60]!r}")
            layouts |= {self._found_layout(asked, probe, whole) for probe, whole in zip(probes, renders, strict=True)}
        if len(layouts) > 1:
            around = sorted((layout.start, layout.end) for layout in layouts)
            raise _NotAlone(f"writes different texts around completions: {around}")
        return layouts.pop()

    def _found_layout(self, asked: str, probe: str, whole: str) -> _Layout:
        """The text between question and completion, and the text after the completion."""
        found = whole.count(probe)
        if found == 0:
            written = whole.removeprefix(asked)[-200:]
            raise _NotAlone(f"rewrites or drops part of the completion: {probe!r} is rendered as {written!r}")
        if found > 1:
            raise _NotAlone(f"writes the completion {found} times")
        before, _, after = whole.partition(probe)
        if not before.startswith(asked):
            raise _NotAlone(
                f"prompts for generation with {asked[-80:]!r}, but in training writes {before[-80:]!r} there"
            )
        return _Layout(before.rpartition(QUESTION)[2], after)

    def _refusal(self, fault: str) -> SFTKeyError:
        argument = f"--chat-arg (it takes {', '.join(self._known)}), " if self._known else ""
        without = "" if self._system is None else "no --system, "
        return SFTKeyError(
            f"the chat template of {self._name!r} {fault}; what may help: {without}{argument}another --template than "
            f"{self._output.name}, or --no-chat"
        )

    def _probe_conversations(self) -> list[Messages]:
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

    def _generation_prompt(self, messages: Messages) -> str:
        """The prompt for generation, less an opening tag that the completion begins with: it is written once."""
        return self._render(messages, generation_prompt=True).removesuffix(self._output.before_cot)

    def _render(self, messages: Messages, *, generation_prompt: bool = False) -> str:
        with self._limited():
            rendered = self._tokenizer.apply_chat_template(
                messages,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=generation_prompt,
                **self._arguments,
            )
        return str(rendered)

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Bounds the time and the memory of a template, which is a program."""
        what = f"the chat template of {self._name!r}"
        try:
            with render_limit(), bounded_memory(what):
                yield
        except EndlessRender:
            raise SFTKeyError(
                f"{what} does not end: {MAX_RENDER_SECONDS:g} s of computing for one conversation were not enough"
            ) from None


def _written(template: Template, cot: str, key: str) -> str:
    """A probe as the template writes it; not `render`, which refuses a text with one of a user's own marks."""
    return f"{template.before_cot}{cot}{template.after_cot}{template.before_key}{key}{template.after_key}"


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _ends(text: str) -> str:
    return repr(text) if len(text) <= 120 else f"{text[:60]!r} … {text[-60:]!r}"
