"""Chat templates that move or drop thoughts, write a date, or take arguments, as those of current models do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from some_slow import some_slow
from transformers import PreTrainedTokenizerBase

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Parts, Reject
from sftkey_data.format.template import BUILTIN
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.tokens.tokenizer import load_tokenizer

SFTKEY = BUILTIN["sftkey"]
COMPLETION = "<Thinking>\n3 + 4 = 7\n</Thinking>\n<Answer>\n7\n</Answer>"
THOUGHT = "<think>\n3 + 4 = 7\n</think>\n\\boxed{7}"
HISTORY = (("user", "Hi."), ("assistant", "Hello."))
TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

THINKING = (
    "{%- for m in messages %}{%- set content = m.content %}{%- set thought = '' %}"
    "{%- if m.role == 'assistant' and '</think>' in content %}"
    "{%- set thought = content.split('</think>')[0].split('<think>')[-1].strip('\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\n' + thought + '\n</think>\n\n' }}{%- endif %}"
    "{{- content + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{%- endif %}"
)
"""What Qwen3's does with thoughts."""

FORGETTING = (
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content }}{% else %}<|im_end|>"
    "{{ m.content.split('</think>')[-1] }}<|endoftext|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_end|><think>\n{% endif %}"
)
"""What DeepSeek-R1's does: thoughts are dropped from a turn, and the prompt for generation begins one."""

HARMONY = (
    "{{- '<|im_start|>system<|message|>Current date: ' + strftime_now('%Y-%m-%d') }}"
    "{{- '\nReasoning: ' + (reasoning_effort or 'medium') + '<|im_end|>' }}"
    "{%- for m in messages %}{%- if m.role == 'assistant' %}"
    "{{- '<|im_start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{- '<|endoftext|>' if loop.last and not add_generation_prompt else '<|im_end|>' }}"
    "{%- else %}{{- '<|im_start|>' + m.role + '<|message|>' + m.content + '<|im_end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant' }}{%- endif %}"
)
"""What gpt-oss's does: today's date, a channel before the last turn, another end of it than of those before."""

DATED = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}"
    "{%- endif %}{{- 'Today Date: ' + date_string + '\n' }}" + TURNS
)
"""What Llama 3.2's does."""

Tokenizers = Callable[[str], PreTrainedTokenizerBase]


@pytest.fixture
def with_template(shared_data: Path) -> Tokenizers:
    """A real tokenizer with another chat template."""

    def change(template: str) -> PreTrainedTokenizerBase:
        tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
        tokenizer.chat_template = template
        return tokenizer

    return change


def parts(history: tuple[tuple[str, str], ...] = ()) -> Parts:
    return Parts(prompt="What is 3 + 4?", cot="3 + 4 = 7", key="7", history=history)


@pytest.mark.parametrize(
    "name", some_slow([name for name in BUILTIN if name != "think-boxed"], quick=["sftkey", "boxed"])
)
@pytest.mark.parametrize("arguments", [{}, {"enable_thinking": False}], ids=["as it is", "no thinking"])
def test_completions_without_thoughts_follow_an_empty_one_where_the_template_writes_it(
    with_template: Tokenizers, name: str, arguments: dict[str, bool]
) -> None:
    chat = ChatFormat(with_template(THINKING), BUILTIN[name], None, arguments)
    completion, _ = BUILTIN[name].render("3 + 4 = 7", "7")
    assert chat.prompt(parts(), completion).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    with pytest.raises(Reject, match="chat_template_rewrites"):
        chat.prompt(parts(), completion.replace("3 + 4 = 7", "It </think> is 7."))


def test_thoughts_that_a_template_moves_follow_the_prompt_for_generation_as_they_are(
    with_template: Tokenizers,
) -> None:
    tokenizer = with_template(THINKING)
    chat = ChatFormat(tokenizer, BUILTIN["think-boxed"])
    asked = [{"role": "user", "content": "What is 3 + 4?"}]
    assert chat.prompt(parts(), THOUGHT) == tokenizer.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True
    )
    assert (chat.turn_start, chat.turn_end) == ("<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n")
    assert chat.question(chat.prompt(parts(history=HISTORY), THOUGHT)) == "What is 3 + 4?"


def test_a_thought_in_the_prompt_and_one_in_the_completion_are_refused(with_template: Tokenizers) -> None:
    expected = r"'think-boxed' writes '<think>' itself; what may help: --chat-arg \(it takes enable_thinking\), another"
    with pytest.raises(SFTKeyError, match=expected):
        ChatFormat(with_template(THINKING), BUILTIN["think-boxed"], None, {"enable_thinking": False})


def test_an_opening_tag_that_the_prompt_for_generation_ends_with_is_written_once(with_template: Tokenizers) -> None:
    tokenizer = with_template(FORGETTING)
    chat = ChatFormat(tokenizer, BUILTIN["think-boxed"])
    asked = [{"role": "user", "content": "What is 3 + 4?"}]
    seen = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    assert chat.prompt(parts(), THOUGHT) + "<think>\n" == seen
    assert chat.eos_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    with pytest.raises(
        SFTKeyError, match=r"prompts for generation with .*another --template than sftkey, or --no-chat$"
    ):
        ChatFormat(tokenizer, SFTKEY)


def test_a_channel_before_the_last_turn_belongs_to_the_prompt_and_its_end_ends_the_example(
    with_template: Tokenizers,
) -> None:
    tokenizer = with_template(HARMONY)
    chat = ChatFormat(tokenizer, SFTKEY, None, {"reasoning_effort": "low"})
    prompt = chat.prompt(parts(history=HISTORY), COMPLETION)
    assert prompt.startswith("<|im_start|>system<|message|>Current date: 2024-07-26\nReasoning: low<|im_end|>")
    assert prompt.endswith("<|im_start|>assistant<|channel|>final<|message|>")
    assert chat.eos_token_id == tokenizer.convert_tokens_to_ids("<|endoftext|>")


@pytest.mark.parametrize(
    ("arguments", "date"),
    [({}, "26 Jul 2024"), ({"strftime_now": "2025-01-31"}, "31 Jan 2025"), ({"date_string": "a day"}, "a day")],
    ids=["no argument", "another day", "its own argument"],
)
def test_a_date_is_the_same_every_day_and_an_argument_says_another(
    with_template: Tokenizers, arguments: dict[str, str], date: str
) -> None:
    chat = ChatFormat(with_template(DATED), SFTKEY, None, arguments)
    assert chat.prompt(parts(), COMPLETION).startswith(f"Today Date: {date}\n<|im_start|>user")


def test_a_day_that_is_none_is_refused(with_template: Tokenizers) -> None:
    with pytest.raises(SFTKeyError, match="--chat-arg strftime_now: found 'today', expected the day to take for today"):
        ChatFormat(with_template(DATED), SFTKEY, None, {"strftime_now": "today"})


@pytest.mark.parametrize(
    ("template", "name", "says"),
    [
        (THINKING, "enable_thinkin", r"\(did you mean 'enable_thinking'\?\); it takes enable_thinking$"),
        (THINKING, "content", "it takes enable_thinking$"),
        (DATED, "messages", "it takes date_string, strftime_now$"),
        (TURNS, "enable_thinking", "it takes none$"),
    ],
    ids=["misspelt", "set inside", "given by transformers", "takes none"],
)
def test_an_argument_that_the_template_does_not_read_is_refused(
    with_template: Tokenizers, template: str, name: str, says: str
) -> None:
    with pytest.raises(SFTKeyError, match=f"--chat-arg {name}: not read by the chat template of .*{says}"):
        ChatFormat(with_template(template), SFTKEY, None, {name: 1})
