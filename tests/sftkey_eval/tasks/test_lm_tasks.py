"""Our evaluation sets under lm-eval's own command: same prompts, same golds, same verdicts."""

import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from eval_samples import AFTER, CUT, EMPTY, LUCKY, RIGHT, SLIP, WRONG, completion, teach, write_model, write_tokenizer
from typer.testing import CliRunner

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Parts
from sftkey_data.prepared.shards import open_shards
from sftkey_data.registry import builtin_names
from sftkey_eval.cli import app
from sftkey_eval.logs.import_logs import import_logs
from sftkey_eval.scoring.score import score_file
from sftkey_eval.tasks.lm_eval_tasks import FOLDER, TASK_PREFIX, all_tasks, load_items, process_results, prompt

ROOT = Path(__file__).resolve().parents[3]
WITHOUT_EVALUATION_SPLIT = {
    *("arc", "chat", "columns", "completions", "flan_cot"),  # no input of their own
    *("cot_collection", "metamathqa", "openmathinstruct2", "openr1_math", "openthoughts", "orca_math", "s1k"),
    *("pubmedqa", "sensemaking"),  # one split
}
QUESTIONS = ["What is 20 + 22?", "What is 20 + 21?", "What is 40 + 2?", "What is 6 * 7?"]


def gsm8k_folder(folder: Path) -> str:
    """The test split in the hub's layout, golds 42, 41, 42, 42, and a row without a Key."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"question": text, "answer": f"So.\n#### {42 - (i == 1)}"} for i, text in enumerate(QUESTIONS)]
    (folder / "main").mkdir(parents=True)
    table = pa.Table.from_pylist([*rows[:2], {"question": "What?", "answer": "no mark"}, *rows[2:]])
    pq.write_table(table, folder / "main" / "test-00000-of-00001.parquet")
    head = "configs:\n- config_name: main\n  data_files:\n  - {split: test, path: main/test-*}"
    (folder / "README.md").write_text(f"---\n{head}\n---\n", encoding="utf-8")
    return f"{folder}:main"


def run_lm_eval(out: Path, model: Path, tasks: str, settings: dict[str, Any], tokens: int) -> tuple[Any, str]:
    """lm-eval's real command, offline; the results of its file and what it said."""
    command = [sys.executable, "-m", "lm_eval", "run", "--tasks", tasks, "--include_path", str(FOLDER)]
    command += ["--model", "hf", "--model_args", f"pretrained={model}", "--device", "cpu", "--batch_size", "4"]
    command += ["--gen_kwargs", f"max_gen_toks={tokens}", "--metadata", json.dumps({"sftkey": settings})]
    command += ["--log_samples", "--output_path", str(out), "--num_fewshot", "3"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = out.rglob("results_*.json")
    return json.loads(results.read_text(encoding="utf-8")), done.stderr


@pytest.mark.slow
def test_lm_evals_own_command_and_score_agree_on_the_same_outputs(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_tokenizer(model)
    write_model(model)
    teach(model, [f"{question}\n" for question in QUESTIONS], [RIGHT, RIGHT, SLIP, RIGHT])
    settings = {"inputs": {"gsm8k": gsm8k_folder(tmp_path / "hub")}, "options": {"arithmetic": {"num": 3}}}
    results, said = run_lm_eval(tmp_path / "out", model, "sftkey_gsm8k,sftkey_arithmetic", settings, 64)
    ours = results["results"]["sftkey_gsm8k"]

    (log,) = (tmp_path / "out").rglob("samples_sftkey_gsm8k_*.jsonl")
    import_logs([log], tmp_path / "completions.jsonl")
    scored = json.loads(score_file(tmp_path / "completions.jsonl", tmp_path / "v.parquet").to_json())
    assert {name: ours[f"{name},none"] for name in ("format_valid", "accuracy", "lenient_accuracy", "slip")} == {
        "format_valid": scored["format_rate"],
        "accuracy": scored["accuracy"],
        "lenient_accuracy": scored["lenient_accuracy"],
        "slip": scored["error_classes"]["slip"] / scored["n"],
    }
    assert (scored["n"], scored["format_rate"], scored["accuracy"]) == (4, 1.0, 0.5)
    assert "gsm8k (test): 1 of 5 rows rejected (missing_key 1; the first: " in said
    assert results["n-shot"]["sftkey_gsm8k"] == 0
    assert results["n-samples"]["sftkey_arithmetic"]["effective"] == 3


def test_the_items_are_what_a_build_writes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = gsm8k_folder(tmp_path / "hub")
    config = {"source": "gsm8k", "inputs": (folder,), "split": "test", "max_reject_rate": 0.5}
    build(BuildConfig(**config), tmp_path / "built")
    columns = ("id", "dataset", "split", "prompt", "gold", "answer_type", "choices")
    monkeypatch.setattr(logging.getLogger("lm_eval"), "propagate", True)  # its own handler shows it otherwise
    with caplog.at_level(logging.WARNING, "lm_eval"):  # a generation in this process has silenced it
        items = load_items("gsm8k", "test", {"inputs": {"gsm8k": folder}}, pretrained="model")["items"]
    assert items.remove_columns("template").to_list() == open_shards(tmp_path / "built", columns=columns).to_pylist()
    assert "1 of 5 rows rejected (missing_key 1; " in caplog.text


def test_the_metrics_of_a_completion_are_those_of_its_verdict(tmp_path: Path) -> None:
    items = load_items("gsm8k", "test", {"inputs": {"gsm8k": gsm8k_folder(tmp_path / "hub")}})["items"]
    completions = [RIGHT, SLIP, SLIP, WRONG, LUCKY, AFTER, CUT, EMPTY]
    metrics = [process_results(items[0], [text]) for text in completions]
    rows = [{"id": i, "completion": text, "gold": "42", "answer_type": "number"} for i, text in enumerate(completions)]
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    scored = json.loads(score_file(path, tmp_path / "v.parquet").to_json())
    hostile = process_results(items[0] | {"answer_type": "math", "gold": "x"}, [completion("So.", "9^{9^{9^9}}")])
    assert (hostile["undecided"], hostile["accuracy"]) == (1.0, 0.0)
    totals = Counter[str]()
    for metric in metrics:
        totals.update(metric)
    n = len(completions)
    assert {name: total / n for name, total in totals.items()} == {
        "format_valid": scored["format_rate"],
        "accuracy": scored["accuracy"],
        "lenient_accuracy": scored["lenient_accuracy"],
        "format_tolerant": scored["format_rate_tolerant"],
        "slip": scored["error_classes"]["slip"] / n,
        "undecided": scored["undecided"] / n,
    }


def test_another_template_reads_other_completions(tmp_path: Path) -> None:
    settings = {"template": "boxed", "inputs": {"gsm8k": gsm8k_folder(tmp_path / "hub")}}
    item = load_items("gsm8k", "test", settings)["items"][0]
    assert process_results(item, ["So \\boxed{42}"])["accuracy"] == 1.0
    assert process_results(item, [RIGHT])["format_valid"] == 0.0


def test_lm_evals_chat_template_gives_the_prompts_of_a_chat_build(tmp_path: Path, tiny_model: Path) -> None:
    from transformers import AutoTokenizer

    from sftkey_data.format.template import BUILTIN
    from sftkey_data.prepare.chat_format import ChatFormat

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    settings = {"chat": True, "inputs": {"gsm8k": gsm8k_folder(tmp_path / "hub")}}
    doc = load_items("gsm8k", "test", settings)["items"][0]
    turns = [{"role": "user", "content": prompt(doc)}]  # what lm-eval hands to the template
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    parts = Parts(prompt=QUESTIONS[0], cot="So.", key="42")
    assert (
        asked
        == ChatFormat(tokenizer, BUILTIN["sftkey"]).prompt(parts, RIGHT)
        == f"<user>{QUESTIONS[0]}<|im_end|><assistant>"
    )


def test_every_dataset_has_a_task_or_no_evaluation_split() -> None:
    named = [task.dataset for task in all_tasks()]
    assert {*named, *WITHOUT_EVALUATION_SPLIT} == set(builtin_names())
    assert not {*named} & WITHOUT_EVALUATION_SPLIT
    assert [task.name for task in all_tasks()] == [f"{TASK_PREFIX}{name}" for name in named]
    assert {file.stem for file in FOLDER.glob("*.yaml")} == {"_shared", *(f"{TASK_PREFIX}{name}" for name in named)}


def test_a_task_file_says_nothing_but_its_dataset_and_split() -> None:
    for task in all_tasks():
        text = (FOLDER / f"{task.name}.yaml").read_text(encoding="utf-8")
        facts = f"dataset_kwargs: {{dataset: {task.dataset}, split: {task.split}}}"
        assert re.sub(r"  #.*", "", text) == f"include: _shared.yaml\ntask: {task.name}\n{facts}\n"


def test_a_misspelt_setting_is_one_line() -> None:
    for settings, fault in (
        ({"tempalte": "boxed"}, "metadata sftkey: unknown key 'tempalte' .did you mean 'template'"),
        ({"inputs": {"gsm8": "x"}}, "metadata sftkey: unknown dataset 'gsm8' .did you mean 'gsm8k'"),
        ({"template": "boxd"}, "boxd"),
        ({"options": {"arithmetic": {"nmu": 3}}}, "arithmetic option: unknown key 'nmu'"),
    ):
        with pytest.raises(SFTKeyError, match=fault):
            load_items("arithmetic", "test", settings)


def test_a_source_without_a_usable_row_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"question": "?", "answer": "no mark"}\n', encoding="utf-8")
    with pytest.raises(SFTKeyError, match=r"1 of 1 rows rejected .*: nothing to evaluate"):
        load_items("gsm8k", "test", {"inputs": {"gsm8k": str(path)}})


def test_tasks_prints_the_folder_or_one_line_per_task() -> None:
    path = CliRunner().invoke(app, ["tasks", "--path"]).stdout.rstrip("\n")
    assert Path(path, "_shared.yaml").is_file()
    listed = [line.split("\t") for line in CliRunner().invoke(app, ["tasks"]).stdout.splitlines()]
    assert ["sftkey_gsm8k", "openai/gsm8k:main", "test"] in listed
    assert CliRunner().invoke(app, ["tasks", "--path", "--list"]).exit_code == 2


@pytest.mark.slow
def test_the_real_sets_run_under_lm_evals_own_command(tmp_path: Path, tiny_model: Path, shared_data: Path) -> None:
    raw = shared_data / "raw"
    inputs = {"gsm8k": "gsm8k/test.jsonl", "math500": "math/math500.jsonl", "aqua_rat": "aqua/test.json"}
    settings = {"inputs": {name: str(raw / path) for name, path in inputs.items()}, "template": "think-boxed"}
    names = ",".join(f"{TASK_PREFIX}{name}" for name in inputs)
    results, _ = run_lm_eval(tmp_path / "out", tiny_model, names, settings, 4)
    sizes = {name: results["n-samples"][f"{TASK_PREFIX}{name}"]["effective"] for name in inputs}
    assert sizes == {"gsm8k": 1319, "math500": 500, "aqua_rat": 254}
    logs = sorted((tmp_path / "out").rglob("samples_*.jsonl"))
    assert import_logs(logs, tmp_path / "completions.jsonl").completions == sum(sizes.values())
