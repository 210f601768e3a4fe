"""From parts to the text a model is prompted with: the turns of a conversation, and plain prompts of them."""

from sftkey_data.extract.parts import Parts, Reject


def plain_prompt(parts: Parts, system: str | None) -> str:
    """The question and one line break; a system prompt and earlier turns stand before it under their roles.

    Raises:
        Reject: `empty_prompt`, and what `rendered_prompt` refuses.
    """
    if parts.rendered:
        return rendered_prompt(parts, system)
    if system is None and not parts.history:
        # one line break, stripped before: more would tokenise otherwise at the prompt's end
        return f"{question_text(parts)}\n"
    turns = [(turn["role"], turn["content"]) for turn in conversation(parts, system)]
    return "\n\n".join(f"{role.capitalize()}: {content.strip()}" for role, content in turns) + "\n"


def plain_question(prompt: str) -> str:
    """The question of a prompt that `plain_prompt` wrote: what follows the last `User:`, or all where there is none."""
    return f"\n\n{prompt}".rpartition("\n\nUser: ")[2].strip()


def rendered_prompt(parts: Parts, system: str | None, ending: str = "") -> str:
    """A prompt that is rendered already, as it is.

    Args:
        parts: Whose `rendered` is true.
        system: The system prompt that is asked for, of which there can be none.
        ending: What stands between a question and a completion in this build.

    Raises:
        Reject: `empty_prompt`; `other_prompt` where this build writes its prompts otherwise.
    """
    question_text(parts)
    if system is not None:
        raise Reject("other_prompt", "the prompt is rendered already, so --system would change nothing: leave it out")
    if not parts.prompt.endswith(ending):
        detail = f"the prompt ends in {parts.prompt[-40:]!r}, the chat template writes {ending!r} before a completion"
        raise Reject("other_prompt", f"{detail}: build as the folder was built that the model answered")
    return parts.prompt


def question_text(parts: Parts) -> str:
    """The question without white space at its ends; a `Reject`, `empty_prompt`, where nothing is left."""
    question = parts.prompt.strip()
    if not question:
        raise Reject("empty_prompt", "the prompt is empty")
    return question


def conversation(parts: Parts, system: str | None) -> list[dict[str, str]]:
    """The turns up to the question, by role; a given system prompt replaces the conversation's own.

    Raises:
        Reject: `empty_prompt`.
    """
    turns = [*parts.history, ("user", question_text(parts))]
    if system is not None:
        turns = [("system", system), *(turn for turn in turns if turn[0] != "system")]
    return [{"role": role, "content": content} for role, content in turns]
