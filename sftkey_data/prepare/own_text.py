"""A row's own text apart from what the templates write around it: where it names special tokens."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from sftkey_data.extract.parts import Parts, Reject
from sftkey_data.format.marks import Spans
from sftkey_data.prepare.chat_format import ChatFormat
from sftkey_data.tokens.special_text import Occurrence, occurrences
from sftkey_data.tokens.tokenizer import Encoded, Encoder

_MARKS = [chr(code) for code in range(0xE000, 0xF900)]  # Unicode's private use: no writing has them


def own_texts(parts: Parts, chat: ChatFormat | None) -> dict[str, str]:
    """The texts of a row by what they are to a user; of a prompt that a chat template rendered, no place is known."""
    texts = {"prompt": parts.prompt, "CoT": parts.cot, "Key": parts.key}
    if parts.rendered and chat is not None:
        del texts["prompt"]
    if parts.choices:
        texts["options"] = "\n".join(parts.choices)
    if parts.history:
        texts["history"] = "\n".join(content for _, content in parts.history)
    return texts


def joined_own_texts(parts: Sequence[Parts], chat: ChatFormat | None) -> str:
    """All own texts of rows, in any order, a line break between two."""
    if any(part.rendered or part.choices or part.history for part in parts):
        return "\n".join(text for part in parts for text in own_texts(part, chat).values())
    return "\n".join([*(part.prompt for part in parts), *(part.cot for part in parts), *(part.key for part in parts)])


def named_special_token(parts: Parts, chat: ChatFormat | None, encoder: Encoder) -> Reject | None:
    """The reject of a row whose own text names a special token; None for one that does not."""
    special = encoder.special_tokens
    for name, text in own_texts(parts, chat).items() if special is not None else ():
        if special is not None and (found := special.search(text)):
            detail = f"the {name} holds {found.group()!r}, which the tokenizer would make a control token of"
            return Reject("special_token_in_text", detail)
    return None


def in_prompt(
    parts: Parts, prompt: str, completion: str, chat: ChatFormat | None, encoder: Encoder
) -> list[Occurrence]:
    """Where a prompt names special tokens in the row's own text.

    The chat template renders the conversation once more, with a mark inside each name.

    Raises:
        Reject: `special_token_in_text` where the chat template makes something else of the marked text.
    """
    special = encoder.special_tokens
    if special is None or not special.search("\n".join([parts.prompt, *(content for _, content in parts.history)])):
        return []
    if chat is None:
        return occurrences(prompt, encoder)
    if parts.rendered:
        return []  # all are the template's
    mark = next(one for one in _MARKS if one not in prompt)

    def marked(text: str) -> str:
        return special.sub(lambda found: f"{found.group()[0]}{mark}{found.group()[1:]}", text)

    history = tuple((role, marked(content)) for role, content in parts.history)
    pieces = chat.prompt(parts._replace(prompt=marked(parts.prompt), history=history), completion).split(mark)
    starts = [reached - 1 for reached in accumulate(map(len, pieces[:-1]))]
    found = [match.span() for start in starts if (match := special.match(prompt, start))]
    if "".join(pieces) != prompt or len(found) < len(starts):
        raise Reject("special_token_in_text", "the chat template does not write it as it stands in the row")
    return found


def in_completion(completion: str, spans: Spans, encoder: Encoder) -> list[Occurrence]:
    """Where a completion names special tokens in its CoT or Key; the template's own marks are none of these."""
    found = occurrences(completion, encoder)
    return [
        (start, end)
        for start, end in found
        if (start < spans.cot_end and end > spans.cot_start) or (start < spans.key_end and end > spans.key_start)
    ]


def refuse_control_tokens(text: str, encoded: Encoded, own: Mapping[str, tuple[int, int]], encoder: Encoder) -> None:
    """Refuse a row whose ids hold a control token in its own text, however it came there: a normaliser may make one.

    Args:
        text: Prompt + completion.
        encoded: Its tokens.
        own: By what they are: runs of the text that are the row's own. In a rendered prompt these are not known; a
            control token is the row's there when the text does not name it as it is.
        encoder: The reference.

    Raises:
        Reject: `special_token_in_text`.
    """
    controls = encoder.control_ids
    for index, start, end in zip(encoded.ids, encoded.starts, encoded.ends, strict=True):
        if index not in controls or start == end:
            continue
        name = next((name for name, (begin, stop) in own.items() if start < stop and end > begin), None)
        if name is None and text[start:end].strip() != encoder.decode([index]).strip():
            name = "prompt"
        if name is not None:
            detail = f"the {name} holds {text[start:end]!r}, of which the tokenizer makes {encoder.decode([index])!r}"
            raise Reject("special_token_in_text", detail)
