"""Which two runs can be compared item by item: the same items, graded alike; else refused in one line."""

from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.records.verdicts import Outcome


def pair_up(first: Run, second: Run) -> list[tuple[Outcome, Outcome]]:
    """Verdicts with the same id, in the first run's order."""
    by_id = {verdict.id: verdict for verdict in second.verdicts}
    return [(verdict, by_id[verdict.id]) for verdict in first.verdicts]


def refuse_unlike(first: Run, second: Run, allowed: Allowed) -> tuple[str, ...]:
    """The accepted differences of two runs, in words.

    Raises:
        SFTKeyError: They cannot be paired.
    """
    pair = f"{first.label!r} and {second.label!r}"
    one, other = first.provenance, second.provenance
    if one["policy_digest"] != other["policy_digest"]:
        changed = sorted(key for key in one["policy"] if one["policy"].get(key) != other["policy"].get(key))
        raise SFTKeyError(f"{pair} were graded by different policies ({', '.join(changed)}); score both alike")
    if one.get("answer_marks_digest") != other.get("answer_marks_digest"):
        raise SFTKeyError(f"{pair} were read with different answer marks (--answer-marks); score both alike")
    _refuse_other_ids(first, second)
    accepted = []
    if one["template_digest"] != other["template_digest"]:
        names = f"{first.template.name!r} and {second.template.name!r}"
        if not allowed.template:
            raise SFTKeyError(f"{pair} were read with different templates, {names}; --allow-different-template")
        accepted.append(f"different templates: {names}")
    return (*accepted, *_refuse_other_questions(first, second, allowed))


def _refuse_other_ids(first: Run, second: Run) -> None:
    ids, others = ({verdict.id: None for verdict in run.verdicts} for run in (first, second))
    for one, other, missing in (
        (first, second, [id_ for id_ in ids if id_ not in others]),
        (second, first, [id_ for id_ in others if id_ not in ids]),
    ):
        if missing:
            raise SFTKeyError(
                f"{one.label!r} has {len(missing)} ids that {other.label!r} has not, the first is {missing[0]!r}; "
                "expected the same items"
            )


def _refuse_other_questions(first: Run, second: Run, allowed: Allowed) -> tuple[str, ...]:
    other_prompts = 0
    prompts = {verdict.id: digest for verdict, digest in zip(second.verdicts, second.prompt_digests, strict=True)}
    for (one, other), prompt in zip(pair_up(first, second), first.prompt_digests, strict=True):
        for what in ("item_id", "gold", "answer_type", "choices"):
            a, b = getattr(one, what), getattr(other, what)
            if a != b:
                raise SFTKeyError(
                    f"{one.id}: {what} is {_short(a)} in {first.label!r} and {_short(b)} in {second.label!r}; "
                    "expected the same item"
                )
        if prompt != prompts[other.id]:
            if not allowed.prompts:
                raise SFTKeyError(
                    f"{one.id}: the prompts of {first.label!r} and {second.label!r} differ; "
                    "--allow-different-prompts accepts that"
                )
            other_prompts += 1
    return (f"different prompts on {other_prompts} items",) if other_prompts else ()


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
