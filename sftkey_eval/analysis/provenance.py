"""Where a run's numbers come from, for the reader, and what a reader must be warned of."""

from collections.abc import Mapping, Sequence
from typing import Any

from sftkey_eval.analysis.loaded_runs import Run
from sftkey_eval.analysis.summary import Summary

DIGEST_LENGTH = 12  # digits shown: enough for a reader to tell two apart; the JSON has all of them
MANY_TRUNCATED = 0.02  # share of completions at the token limit above which a reader is warned


def facts(run: Run) -> dict[str, str]:
    """Name and value of everything known about a run, in reading order."""
    known = run.provenance
    policy = ", ".join(f"{name} {value}" for name, value in known["policy"].items())
    shown = {
        **_generation_facts(run.record),
        "Template": f"{run.template.name}, digest {_short(known['template_digest'])}",
        "Policy": f"{policy}; digest {_short(known['policy_digest'])}",
        "Answer marks": _answer_marks(known),
        "Completions": f"{known.get('source', '')}, sha256 {_short(known.get('sha256'))}",
        "Second grader": _second_grader(known),
        "Metrics": ", ".join(
            f"{m['name']} of {m['file']}, sha256 {_short(m['sha256'])}" for m in known.get("metrics") or ()
        ),
        "Scored by": f"sftkey {known.get('code_version', '')}",
        "Verdicts": str(run.path),
    }
    return {name: value for name, value in shown.items() if value}


def _answer_marks(known: Mapping[str, Any]) -> str:
    """Of marks that a user added; the built-in ones go without saying."""
    added = known.get("answer_marks_added")
    return f"added for {', '.join(added)}; digest {_short(known.get('answer_marks_digest'))}" if added else ""


def _second_grader(known: Mapping[str, Any]) -> str:
    judge = _section(known, "judge")
    if not judge:
        return str(known.get("second_grader") or "")
    return f"{judge.get('model')} at {judge.get('url')}, prompt {_short(judge.get('prompt_sha256'))}"


def _generation_facts(record: Mapping[str, Any]) -> dict[str, str]:
    """What `run.json` says; a file of somebody else's may say little or other things."""
    model, data, sampling, versions = (_section(record, name) for name in ("model", "data", "sampling", "versions"))
    if not model:
        return {"Model": "unknown: the completions came without a record of it"}
    seed, recipe = model.get("seed"), model.get("recipe") or "unnamed"
    return {
        "Model": f"{model.get('path')}, fingerprint {_short(model.get('fingerprint'))}",
        "Training seed": "not recorded" if seed is None else f"{seed} (recipe {recipe})",
        "Data": _data(data) if data else "",
        "Sampling": _sampling(sampling) if sampling else "",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _section(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = record.get(name)
    return section if isinstance(section, dict) else {}


def _data(data: Mapping[str, Any]) -> str:
    parts = [str(data.get("path")), f"manifest {_short(data.get('manifest_sha256'))}"]
    parts += [f"split {data['split']}"] if data.get("split") else []
    parts += [f"first {data['limit']} rows"] if data.get("limit") else []
    return ", ".join(parts)


def _sampling(sampling: Mapping[str, Any]) -> str:
    temperature = sampling.get("temperature")
    chosen = "greedy" if temperature == 0 else f"temperature {temperature}, seed {sampling.get('seed')}"
    return f"{chosen}, up to {sampling.get('max_new_tokens')} new tokens, back-end {sampling.get('backend')}"


def provenance_json(run: Run) -> dict[str, Any]:
    """The recorded provenance and the file it came from."""
    return {**run.provenance, "verdicts": str(run.path)}


def warnings(runs: Sequence[Run], summaries: Mapping[str, Summary]) -> list[str]:
    """Sentences a reader needs before believing the numbers."""
    found = []
    for run in runs:
        summary = summaries[run.label]
        cut = summary.finish_reasons.get("length", 0)
        if cut > MANY_TRUNCATED * summary.num_items:
            hit = f"{run.label}: {cut} of {summary.num_items} completions hit the token limit"
            found.append(f"{hit}; raise --max-new-tokens, or read its format rate with that in mind.")
        if summary.unscored:
            items = "item has" if summary.unscored == 1 else "items have"
            unscored = f"{run.label}: {summary.unscored} {items} an empty or unusable gold"
            found.append(f"{unscored}: never correct, and in every denominator.")
    found += [
        f"The metric {name} is of different files, so its means do not compare."
        for name in sorted({name for run in runs for name in _metric_files(run)})
        if len({_metric_files(run)[name] for run in runs if name in _metric_files(run)}) > 1
    ]
    if len({run.provenance["policy_digest"] for run in runs}) > 1:
        found.append("The runs were graded by different policies, so their accuracies do not compare.")
    if len({run.provenance.get("answer_marks_digest") for run in runs}) > 1:
        found.append("The runs were read with different answer marks, so their lenient accuracies do not compare.")
    if len({run.provenance["template_digest"] for run in runs}) > 1:
        found.append("The runs were read with different templates, so their format rates measure different things.")
    return found


def _metric_files(run: Run) -> dict[str, str]:
    return {metric["name"]: metric["sha256"] for metric in run.provenance.get("metrics") or ()}


def _short(digest: object) -> str:
    return f"{digest[:DIGEST_LENGTH]}…" if isinstance(digest, str) and digest else "unknown"
