"""Prompts by a chat template that leaves completions alone."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Parts, Reject
from sftkey_data.format.template import BUILTIN
from sftkey_data.prepare import render_limit
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.tokens.tokenizer import load_tokenizer

SFTKEY = BUILTIN["sftkey"]
COMPLETION = "<Thinking>\n3 + 4 = 7\n</Thinking>\n<Answer>\n7\n</Answer>"
HISTORY = (("system", "Be brief."), ("user", "Hi."), ("assistant", "Hello."))
TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ CONTENT }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Tokenizers = Callable[..., PreTrainedTokenizerBase]


def parts(prompt: str = "What is 3 + 4?", history: tuple[tuple[str, str], ...] = ()) -> Parts:
    return Parts(prompt=prompt, cot="3 + 4 = 7", key="7", history=history)


@pytest.fixture(scope="module")
def tokenizer(shared_data: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))


@pytest.fixture(scope="module", params=["qwen2.5", "phi-3-mini"])
def real(request: pytest.FixtureRequest, shared_data: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(str(shared_data / "tokenizers" / request.param))


@pytest.fixture
def with_template(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> Tokenizers:
    """A real tokenizer with another chat template; `CONTENT` stands for what it makes of a turn."""

    def change(content: str, template: str = TURNS) -> PreTrainedTokenizerBase:
        monkeypatch.setattr(tokenizer, "chat_template", template.replace("CONTENT", content))
        return tokenizer

    return change


@pytest.mark.parametrize("system", [None, "Sys."])
def test_an_empty_question_is_rejected(system: str | None, real: PreTrainedTokenizerBase) -> None:
    with pytest.raises(Reject, match="empty_prompt"):
        ChatFormat(real, SFTKEY, system).prompt(parts(" \n\t", HISTORY), COMPLETION)


@pytest.mark.parametrize("system", [None, "You are terse.\nAnswer only."])
@pytest.mark.parametrize("history", [(), HISTORY], ids=["one turn", "turns"])
def test_a_chat_prompt_is_the_generation_prompt_and_rebuilds_the_render(
    real: PreTrainedTokenizerBase, system: str | None, history: tuple[tuple[str, str], ...]
) -> None:
    chat = ChatFormat(real, SFTKEY, system)
    messages = [{"role": role, "content": content} for role, content in [*history, ("user", "What is 3 + 4?")]]
    if system is not None:
        messages = [{"role": "system", "content": system}, *(m for m in messages if m["role"] != "system")]
    prompt = chat.prompt(parts(history=history), COMPLETION)
    assert prompt == real.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    whole = real.apply_chat_template([*messages, {"role": "assistant", "content": COMPLETION}], tokenize=False)
    assert prompt + COMPLETION + chat.turn_end == whole
    assert chat.question(prompt) == "What is 3 + 4?"


@pytest.mark.parametrize(
    ("name", "turn_end", "token"), [("qwen2.5", "<|im_end|>\n", "<|im_end|>"), ("phi-3-mini", None, "<|end|>")]
)
def test_a_turn_ends_with_the_token_of_the_template(
    shared_data: Path, name: str, turn_end: str | None, token: str
) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / name))
    chat = ChatFormat(tokenizer, SFTKEY, None)
    assert chat.turn_end == (turn_end or f"<|end|>\n{tokenizer.eos_token}")
    assert chat.eos_token_id == tokenizer.convert_tokens_to_ids(token)


def test_of_two_tokens_that_begin_the_turn_end_the_longer_counts(shared_data: Path) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
    tokenizer.add_tokens(["<|im"])
    assert ChatFormat(tokenizer, SFTKEY, None).eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_a_turn_that_ends_with_no_token_ends_with_the_eos(with_template: Tokenizers) -> None:
    tokenizer = with_template("m.content", TURNS.replace("<|im_end|>", "").replace("<|im_start|>", "# "))
    chat = ChatFormat(tokenizer, SFTKEY, None)
    assert (chat.turn_end, chat.eos_token_id) == ("\n", tokenizer.eos_token_id)
    assert chat.prompt(parts(), COMPLETION) == "# user\nWhat is 3 + 4?\n# assistant\n"


def test_a_tokenizer_without_a_chat_template_is_refused(shared_data: Path) -> None:
    with pytest.raises(SFTKeyError, match="gpt2' has no chat template, expected one for --chat"):
        ChatFormat(load_tokenizer(str(shared_data / "tokenizers" / "gpt2")), SFTKEY, None)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("m.content | lower", "drops or rewrites the user turn"),
        ("m.content | lower if m.role == 'assistant' else m.content", "is rendered as '<thinking>"),
        ("m.content | e", "'<Thinking>.* is rendered as '&lt;Thinking&gt;"),
        ("m.content.split('\n') | map('trim') | join('\n')", "rewrites or drops"),
        ("m.content.replace('\n\n', '\n')", "rewrites or drops"),
        ("m.content[:40]", "rewrites or drops"),
        ("'' if m.role == 'assistant' else m.content", "rewrites or drops"),
        ("'' if m.content == 'Hello.' else m.content", "drops or rewrites the user turn 'Hello.'"),
        ("m.content + m.content", "writes the completion 2 times"),
        ("m.content + ('\n' if '72' in m.content else '')", "writes different texts around completions"),
        ("('<x>' if '72' in m.content else '') + m.content", "writes different texts around completions"),
    ],
    ids=[
        "lower case",
        "lower-case completion",
        "HTML",
        "lines trimmed",
        "blank lines",
        "cut",
        "empty",
        "no history",
        "twice",
        "two turn ends",
        "two turn starts",
    ],
)
def test_a_template_that_does_not_leave_text_alone_is_refused(
    with_template: Tokenizers, content: str, says: str
) -> None:
    with pytest.raises(SFTKeyError, match=says) as caught:
        ChatFormat(with_template(content), SFTKEY, None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (
            "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
            + TURNS.replace("CONTENT", "m.content"),
            "fails on turns of system, user: System role not supported",
        ),
        (
            TURNS.replace("CONTENT", "m.content").replace("{% for m in messages %}", "{% for m in messages[1:] %}"),
            "drops or rewrites the system turn 'Be kind.'",
        ),
    ],
    ids=["raises", "drops"],
)
def test_a_template_without_a_system_role_is_refused_only_with_a_system_prompt(
    with_template: Tokenizers, template: str, says: str
) -> None:
    with pytest.raises(SFTKeyError, match=says):
        ChatFormat(with_template("", template), SFTKEY, "Be kind.")


def test_a_template_without_a_system_role_rejects_the_conversations_that_have_one(with_template: Tokenizers) -> None:
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    chat = ChatFormat(with_template("m.content", refuses + TURNS), SFTKEY, None)
    assert chat.prompt(parts(), COMPLETION).endswith("assistant\n")
    with pytest.raises(Reject, match="chat_template_refuses: no system here"):
        chat.prompt(parts(history=HISTORY), COMPLETION)


def test_a_broken_template_is_one_line(with_template: Tokenizers) -> None:
    with pytest.raises(SFTKeyError, match="fails on turns of user: ") as caught:
        ChatFormat(with_template("m.content", "{% for m in messages %}"), SFTKEY, None)
    assert "\n" not in str(caught.value)


def test_another_generation_prompt_than_in_training_is_refused_but_an_empty_thought_is_not(
    with_template: Tokenizers,
) -> None:
    other = TURNS.replace("CONTENT", "m.content").replace("<|im_start|>assistant\n{% endif", "assistant:{% endif")
    with pytest.raises(SFTKeyError, match=r"prompts for generation with '.*assistant:', but in training writes"):
        ChatFormat(with_template("", other), SFTKEY, None)
    thought = "('<think>\n\n</think>\n\n' if loop.last and m.role == 'assistant' else '') + m.content"
    chat = ChatFormat(with_template(thought), SFTKEY, None)
    prompt = chat.prompt(parts(), COMPLETION)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert chat.question(prompt) == "What is 3 + 4?"


@pytest.mark.parametrize("completion", ["\nseven", "seven\n", " seven", "seven "])
def test_a_trimming_template_serves_completions_without_outer_white_space(
    with_template: Tokenizers, completion: str
) -> None:
    """The line break that is lost from `\\nseven` stands before it all the same: it must not count as the row's own."""
    chat = ChatFormat(with_template("m.content | trim"), SFTKEY, None)
    assert chat.prompt(parts(), COMPLETION).endswith("<|im_start|>assistant\n")
    with pytest.raises(Reject, match="chat_template_rewrites"):
        chat.prompt(parts(), completion)


def test_a_row_that_the_template_rewrites_is_rejected(with_template: Tokenizers) -> None:
    chat = ChatFormat(with_template("m.content.replace('seven', 'VII')"), SFTKEY, None)
    assert chat.prompt(parts(), COMPLETION)
    with pytest.raises(Reject, match=r"chat_template_rewrites: 'It is seven\.' is rendered as 'It is VII\."):
        chat.prompt(parts(), "It is seven.")


def test_a_template_that_writes_the_date_writes_the_same_date_every_day(with_template: Tokenizers) -> None:
    dated = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %} today" + TURNS
    chat = ChatFormat(with_template("m.content", dated), SFTKEY, None)
    assert chat.prompt(parts(), COMPLETION).startswith("26 Jul 2024 today<|im_start|>user")


def test_the_digest_is_of_the_template_and_the_system_prompt(
    real: PreTrainedTokenizerBase, with_template: Tokenizers
) -> None:
    digests = [ChatFormat(real, SFTKEY, system).digest for system in (None, "a", "b")]
    digests.append(ChatFormat(with_template("m.content"), SFTKEY, None).digest)
    assert len(set(digests)) == 4
    assert ChatFormat(real, SFTKEY, "a").digest == digests[1]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    question=st.text(min_size=1).filter(str.strip),
    cot=st.text(min_size=1).filter(str.strip),
    name=st.sampled_from(["sftkey", "think-boxed", "hash"]),
)
def test_whatever_the_text_prompt_and_completion_rebuild_the_render(
    tokenizer: PreTrainedTokenizerBase, question: str, cot: str, name: str
) -> None:
    try:
        completion, _ = BUILTIN[name].render(cot, "7")
    except Reject:
        return
    chat = ChatFormat(tokenizer, SFTKEY, None)
    prompt = chat.prompt(parts(question), completion)
    messages = [{"role": "user", "content": question.strip()}, {"role": "assistant", "content": completion}]
    assert prompt + completion + chat.turn_end == tokenizer.apply_chat_template(messages, tokenize=False)
    assert prompt.endswith(f"{question.strip()}<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("when", ["true", "'dragons' in messages[0].content"], ids=["always", "for one row"])
def test_a_chat_template_that_does_not_end_is_one_line(
    with_template: Tokenizers, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr(render_limit, "MAX_RENDER_SECONDS", 0.2)
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    endless = with_template("m.content", f"{{% if {when} %}}{loops}{{% endif %}}{TURNS}")
    with pytest.raises(SFTKeyError, match=r"^the chat template of '.*qwen2.5' does not end: 20 s of computing for one"):
        ChatFormat(endless, SFTKEY).prompt(parts("How many dragons?"), COMPLETION)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on a process's data is Linux's")
def test_a_chat_template_that_writes_very_much_is_one_line(with_template: Tokenizers) -> None:
    large = with_template("m.content", f"{{{{ 'dragons' * 999999999 }}}}{TURNS}")  # computed when it is looked at
    with pytest.raises(SFTKeyError, match=r"^the chat template of '.*qwen2.5': takes more than 1.5 GiB of memory"):
        ChatFormat(large, SFTKEY).prompt(parts("How many dragons?"), COMPLETION)


def test_a_chat_template_with_a_power_is_refused(with_template: Tokenizers) -> None:
    with pytest.raises(SFTKeyError, match="the chat template has a power"):
        ChatFormat(with_template("m.content", f"{{{{ 9**9**9 }}}}{TURNS}"), SFTKEY)
