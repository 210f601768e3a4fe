"""Completions in, verdicts out: the format from the raw text, then the Key, then the reason for the error."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import sftkey_data
from sftkey_data.command_line.option_file import config_record
from sftkey_data.config import validate
from sftkey_data.console import progress
from sftkey_data.errors import SFTKeyError
from sftkey_data.format.marks import Spans
from sftkey_data.format.template import Template, load_template
from sftkey_data.options import check_values
from sftkey_data.storage.appearing import appearing
from sftkey_data.storage.own_output import own_file, refuse_no_file
from sftkey_data.storage.sealed_json import read_sealed
from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.answer_kind import AnswerKind
from sftkey_eval.answers.decision import Decision
from sftkey_eval.answers.option_letters import Choices
from sftkey_eval.extraction.answer_marks import AnswerMarks, answer_marks
from sftkey_eval.extraction.candidates import Candidate, find_candidate, find_cot
from sftkey_eval.extraction.cot_value import find_cot_value
from sftkey_eval.grading.ladder import compare_answers
from sftkey_eval.judge.judge_options import check_judge
from sftkey_eval.judge.judged_verdicts import JUDGE, judge_record, open_judge
from sftkey_eval.kinds.kind_table import KINDS, find_kind
from sftkey_eval.logs.known_logs import log_program
from sftkey_eval.policy import DEFAULT_POLICY, Policy, check_policy
from sftkey_eval.records.completion_fields import Fields
from sftkey_eval.records.completion_rows import Completion, Survey, read_completions, survey_completions
from sftkey_eval.records.run_record import RECORD_FILE, RECORD_MEND, refuse_other_completions
from sftkey_eval.records.verdicts import Verdict, open_verdicts
from sftkey_eval.records.workers import ROWS_PER_JOB, in_order
from sftkey_eval.scoring.error_classes import classify, ends_elsewhere
from sftkey_eval.scoring.inferred_type import answer_type_of
from sftkey_eval.scoring.metric_files import load_metrics, with_metrics
from sftkey_eval.scoring.score_options import ScoreOptions
from sftkey_eval.scoring.score_tally import ScoreTally
from sftkey_eval.scoring.second_grader import check_second_grader, disagreement, disagreement_line, with_second_opinion
from sftkey_eval.scoring.template_survey import readable_by

DEFAULT_TEMPLATE = "sftkey"


def score_file(path: Path, out: Path, options: ScoreOptions | None = None) -> ScoreTally:
    """Score a file of completions into a verdicts file.

    Args:
        path: See `read_row_file`.
        out: Parquet file; it appears under its name when it is complete. With a second grader,
            `disagreements_path(out)` lists where the two differ; a judge's answers are kept in `replies_path(out)`.
        options: Template, columns, policy and workers; the file is the same for any number of these.

    Raises:
        SFTKeyError: What `survey_completions`, `check_policy`, `check_judge`, `load_metrics` and `answer_marks`
            refuse, an unknown template or answer type, an unusable `out`; a judge that gives no answer.
    """
    options = options or ScoreOptions()
    fields, second_grader = options.fields, options.second_grader
    check_policy(options.policy)
    marks = answer_marks(options.answer_marks)
    forced = None if options.answer_type is None else find_kind(options.answer_type).name
    check_second_grader(second_grader)
    check_values(options)
    check_judge(options.judge, second_grader)
    metrics = load_metrics(options.metric)
    run = _read_run(path, options.template)
    survey = _survey(path, fields)
    refuse_other_completions(path, survey.sha256, (run or {}).get("completions_sha256"))
    used = _template(options.template, run, path.parent / RECORD_FILE)
    _refuse_unusable(out, path)
    job = _Job(used, forced, options.policy, second_grader is not None, dict(KINDS), marks)
    judge = judge_record(options.judge)
    second_name = JUDGE if judge else second_grader
    provenance = _provenance(job) | {"source": path.name, "sha256": survey.sha256, "second_grader": second_name}
    provenance |= {"judge": judge, "metrics": [metric.record() for metric in metrics]}
    provenance |= {"config": config_record(options.config)}
    provenance |= {} if survey.golds is None else {"golds": dict(survey.golds)}
    names = tuple(metric.name for metric in metrics)
    tally = ScoreTally(metrics=names, numbered=survey.numbered, num_unasked=survey.num_unasked)
    with (
        own_file(out, "verdicts", beside=[disagreements_path(out).name]),
        open_judge(options.judge, options.concurrency, out) as judging,
        open_verdicts(out, provenance | {"run": run}) as writer,
        _open_disagreements(out, second_name) as differing,
        progress("scoring", survey.num_rows) as bar,
        closing(in_order(job, _batches(read_completions(path, fields, KINDS)), options.workers)) as batches,
    ):
        for batch in batches:
            judged = judging.with_opinions(batch) if judging else batch
            verdicts = [with_metrics(verdict, metrics) for verdict in judged] if metrics else judged
            writer.write(verdicts)
            for verdict in verdicts:
                tally.add(verdict)
                if differing and disagreement(verdict):
                    differing.write(disagreement_line(verdict))
            bar.advance(bar.task_ids[0], len(verdicts))
    if 2 * tally.counts["format_valid"] < tally.counts["n"]:
        tally.readable_by = readable_by(read_completions(path, fields, KINDS), used)
    return tally


def _survey(path: Path, fields: Fields) -> Survey:
    try:
        return survey_completions(path, fields, KINDS)
    except SFTKeyError as error:
        if (program := log_program(path)) is None:
            raise
        raise SFTKeyError(
            f"{path}: a log of {program}'s, expected completions: sftkey-eval import {path} --out completions.jsonl "
            f"makes some of it ({error})"
        ) from None


@dataclass(frozen=True, slots=True)
class _Job:
    """What a worker does with a batch."""

    template: Template
    answer_type: str | None
    policy: Policy
    second: bool
    kinds: dict[str, AnswerKind]
    """Travels with the job: a worker process knows no kind that was registered after the start."""
    marks: AnswerMarks

    def __call__(self, rows: list[Completion]) -> list[Verdict]:
        kinds = [self.kinds[self.answer_type or row.answer_type or answer_type_of(row)] for row in rows]
        pairs = zip(rows, kinds, strict=True)
        verdicts = [_score(row, self.template, kind, self.policy, self.marks) for row, kind in pairs]
        if not self.second:
            return verdicts
        asked = zip(verdicts, kinds, strict=True)
        return [with_second_opinion(verdict) if kind.second_opinion else verdict for verdict, kind in asked]


def _refuse_unusable(out: Path, path: Path) -> None:
    refuse_no_file(out, "verdicts")
    if out.exists() and out.samefile(path):
        raise SFTKeyError(f"{out}: the verdicts would replace the completions, name another file")


def _provenance(job: _Job) -> dict[str, Any]:
    """What the verdicts depend on besides the completions."""
    return {
        "policy": asdict(job.policy),
        "policy_digest": job.policy.digest,
        "template": asdict(job.template),
        "template_digest": job.template.digest,
        "answer_marks_added": job.marks.added,
        "answer_marks_digest": job.marks.digest,
        "code_version": sftkey_data.__version__,
        "answer_type": job.answer_type,
    }


def disagreements_path(out: Path) -> Path:
    """Where the disagreements of a verdicts file are listed: `a.disagreements.jsonl` beside `a.parquet`."""
    return out.with_name(f"{out.name.removesuffix('.parquet')}.disagreements.jsonl")


def _open_disagreements(out: Path, second_grader: str | None) -> AbstractContextManager[IO[str] | None]:
    return nullcontext() if second_grader is None else appearing(disagreements_path(out), "w")


def score_completion(
    row: Completion,
    template: Template,
    *,
    answer_type: str | None = None,
    policy: Policy = DEFAULT_POLICY,
    marks: AnswerMarks | None = None,
) -> Verdict:
    """Score one completion: strict, lenient, and where the error comes from. No text raises.

    Raises:
        SFTKeyError: An unknown answer type.
    """
    kind = find_kind(answer_type or row.answer_type or answer_type_of(row))
    return _score(row, template, kind, policy, marks or answer_marks())


def _score(row: Completion, template: Template, kind: AnswerKind, policy: Policy, marks: AnswerMarks) -> Verdict:
    text, choices = row.completion or "", Choices.of(row.choices)
    reading = template.read(text, row.finish_reason)
    key = _key(text, reading.spans)
    candidate = key or find_candidate(text, kind, choices, template, marks)
    cot = candidate.cot if candidate else find_cot(text, template)
    cot_value = find_cot_value(cot, kind, choices, marks)
    predicted, lenient_predicted = (found.text if found else None for found in (key, candidate))

    gold = Answer.of(row.gold, choices)
    decisions: dict[str | None, Decision] = {}  # the Key, the candidate and the CoT's value are often the same text

    def judge(text: str | None) -> Decision:
        if text not in decisions:
            decisions[text] = compare_answers(gold, Answer.of(text, choices), kind, policy)
        return decisions[text]

    strict, lenient = judge(predicted), judge(lenient_predicted)
    error_class, lucky = classify(
        strict,
        lenient,
        lambda: None if cot_value is None else judge(cot_value),
        format_valid=key is not None,
        has_candidate=candidate is not None,
    )
    if lucky and predicted and cot_value:
        lucky = ends_elsewhere(cot, cot_value, predicted, kind, judge)
    return Verdict(
        id=row.id,
        item_id=row.item_id,
        sample=row.sample,
        dataset=row.dataset,
        split=row.split,
        answer_type=kind.name,
        gold=row.gold,
        format_valid=key is not None,
        format_error=reading.strict,
        format_tolerant=reading.tolerant is None,
        format_present=reading.present is None,
        predicted=predicted,
        verdict=strict.verdict,
        correct=strict.verdict == "correct",
        rule=strict.rule,
        lenient_predicted=lenient_predicted,
        lenient_verdict=lenient.verdict,
        lenient_correct=lenient.verdict == "correct",
        lenient_source=candidate.source if candidate else None,
        cot_value=cot_value,
        error_class=error_class,
        lucky=lucky,
        prompt=row.prompt,
        completion=row.completion,
        choices=row.choices,
        finish_reason=row.finish_reason,
    )


def _key(text: str, spans: Spans | None) -> Candidate | None:
    """The Key of a completion whose format holds, as a candidate."""
    if spans is None:
        return None
    return Candidate(text[spans.key_start : spans.key_end], "key", text[spans.cot_start : spans.cot_end])


def _batches(rows: Iterable[Completion]) -> Iterator[list[Completion]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, ROWS_PER_JOB)):
        yield batch


def _read_run(path: Path, template: str | None) -> dict[str, Any] | None:
    """The record beside the completions, if it is of these: a folder has one, and may hold other completions."""
    run_file = path.parent / RECORD_FILE
    try:
        run = read_sealed(run_file, RECORD_MEND)
    except FileNotFoundError:
        return None
    if not isinstance(run, dict):
        return None
    if (described := run.get("completions", path.name)) == path.name:
        return run
    if template is None:
        raise SFTKeyError(
            f"{run_file} tells of {described!r}, not of {path.name!r}; name the template of these with --template"
        )
    return None


def _template(name: str | None, run: dict[str, Any] | None, run_file: Path) -> Template:
    if name is not None:
        return load_template(name)
    if run is None:
        return load_template(DEFAULT_TEMPLATE)
    if not isinstance(run.get("template"), dict):
        raise SFTKeyError(f"{run_file}: no template recorded, expected its fields; name one with --template")
    return validate(run["template"], Template, where=f"{run_file}: template")
