"""Which two runs can be compared item by item: the same items, graded alike; else refused in one line."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sftkey_data.arrays import Bools, Int64s
from sftkey_data.errors import SFTKeyError
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.analysis.loaded_runs import Run


def rows_of_same_id(first: Run, second: Run) -> Int64s:
    """The row of the second run, (rows,), that has the id of each row of the first; both have the same ids."""
    rows: Int64s = pc.index_in(first.verdicts.column("id"), value_set=second.verdicts.column("id")).to_numpy()
    return rows.astype(np.int64)


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
    for one, other in ((first, second), (second, first)):
        ids = one.verdicts.column("id")
        missing = ids.filter(pc.invert(pc.is_in(ids, value_set=other.verdicts.column("id"))))
        if len(missing):
            raise SFTKeyError(
                f"{one.label!r} has {len(missing)} ids that {other.label!r} has not, the first is "
                f"{missing[0].as_py()!r}; expected the same items"
            )


def _refuse_other_questions(first: Run, second: Run, allowed: Allowed) -> tuple[str, ...]:
    rows = rows_of_same_id(first, second)
    differs = {what: _differs(first, second, what, rows) for what in ("item_id", "gold", "answer_type", "choices")}
    other_prompts: Bools = np.asarray(first.prompt_digests) != np.asarray(second.prompt_digests)[rows]
    refused = np.logical_or.reduce([*differs.values(), *([] if allowed.prompts else [other_prompts])])
    if refused.any():
        row = int(refused.argmax())  # the first
        (one,), (other,) = first.verdicts.at([row]), second.verdicts.at(rows[[row]])
        for what in (what for what, differing in differs.items() if differing[row]):
            a, b = getattr(one, what), getattr(other, what)
            raise SFTKeyError(
                f"{one.id}: {what} is {_short(a)} in {first.label!r} and {_short(b)} in {second.label!r}; "
                "expected the same item"
            )
        raise SFTKeyError(
            f"{one.id}: the prompts of {first.label!r} and {second.label!r} differ; "
            "--allow-different-prompts accepts that"
        )
    num_others = int(np.count_nonzero(other_prompts))
    return (f"different prompts on {num_others} items",) if num_others else ()


def _differs(first: Run, second: Run, what: str, rows: Int64s) -> Bools:
    """Where two runs have other texts, (rows,); two that have none are alike."""
    one, other = first.verdicts.column(what), second.verdicts.column(what).take(pa.array(rows))
    of_one_only = pc.xor(pc.is_null(one), pc.is_null(other))
    differs: Bools = pc.coalesce(pc.not_equal(one, other), of_one_only).to_numpy(zero_copy_only=False)
    return differs


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
