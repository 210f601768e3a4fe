"""`--config FILE`: options of a verb from a TOML file."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from eval_samples import RIGHT, SLIP, WRONG, call, write_run

from sftkey_data.errors import SFTKeyError
from sftkey_eval.records.verdict_reader import read_verdicts

ROWS = [{"completion": text} for text in (RIGHT, SLIP, WRONG)]


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", ROWS) / "completions.jsonl"


def config(folder: Path, text: str) -> Path:
    (folder / "eval.toml").write_text(text, encoding="utf-8")
    return folder / "eval.toml"


def called(*arguments: object) -> str:
    done = call(*arguments)
    if done.exception:
        raise done.exception
    return done.output


def test_a_file_gives_options_the_command_line_wins_and_both_are_recorded(completions: Path, tmp_path: Path) -> None:
    text = 'template = "boxed"\nrounding = 3\nunits = "strict"\nworkers = 1\njudge_arg = {}\n'
    file = config(tmp_path, f'completions = "{completions}"\nout = "{tmp_path / "v.parquet"}"\n{text}')
    called("score", "--config", file, "--template", "sftkey")
    _, provenance = read_verdicts(tmp_path / "v.parquet")
    assert provenance["template"]["name"] == "sftkey"
    assert (provenance["policy"]["rounding"], provenance["policy"]["units"]) == (3, "strict")
    assert provenance["config"]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (provenance["config"]["file"], provenance["config"]["values"]["units"]) == (str(file), "strict")


def test_without_a_file_nothing_is_recorded(completions: Path, tmp_path: Path) -> None:
    called("score", completions, "--out", tmp_path / "v.parquet", "--workers", "1")
    assert read_verdicts(tmp_path / "v.parquet")[1]["config"] is None


@pytest.mark.slow
def test_a_report_and_a_comparison_take_theirs_from_a_file(completions: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", ROWS, template="boxed")
    runs = [f"a={completions.parent}", f"b={other}"]
    for verb, names in (("report", f"runs = {json.dumps(runs)}"), ("compare", 'run-a = "{}"\nrun-b = "{}"')):
        text = names.format(*runs) if verb == "compare" else names
        file = config(tmp_path, f'{text}\nout = "{tmp_path / verb}"\nallow-different-template = true\n')
        called(verb, f"--config={file}")
        made = json.loads((tmp_path / verb / f"{verb}.json").read_text())
        assert made["config"]["values"]["allow-different-template"] is True
        assert "b" in json.dumps(made)
    assert made["accepted_differences"] != []


def test_a_run_is_configured_as_a_whole(tiny_model: Path, prepared: Path, tmp_path: Path) -> None:
    given = f'model = "{tiny_model}"\ndata = "{prepared}"\nlimit = 2\nmax-new-tokens = 4\ndevice = "cpu"\nworkers = 1\n'
    file = config(tmp_path, given)
    called("run", "--config", file, "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    expected = {"file": str(file), "sha256": hashlib.sha256(given.encode()).hexdigest()}
    assert record["sampling"]["max_new_tokens"] == 4
    assert record["data"]["limit"] == 2
    report = json.loads((tmp_path / "out" / "report" / "report.json").read_text())
    found = [record["config"], read_verdicts(tmp_path / "out" / "verdicts.parquet")[1]["config"], report["config"]]
    assert [{name: one[name] for name in expected} for one in found] == [expected] * 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tempalte = 'boxed'", r"eval\.toml: unknown key 'tempalte' \(did you mean 'template'\?\); known: "),
        ("config = 'other.toml'", r"eval\.toml: unknown key 'config'"),
        ("metric = ['mine.py']", r"eval\.toml: metric: what runs a file's code is named on the command line alone"),
        ("workers = 'many'", r"eval\.toml: Invalid value for '--workers': .*, found 'many'"),
        ("workers = 1.5", r"eval\.toml: Invalid value for '--workers': .*, found '1\.5'"),
        ("workers = true", r"eval\.toml: workers: found True, expected a text or a number"),
        ("judge-arg = 'a=1'", r"eval\.toml: judge-arg: found 'a=1', expected a list"),
        ("units = 'loose'", "units"),
        ("units = ", r"eval\.toml: not a readable TOML file"),
    ],
)
def test_a_fault_is_one_line_that_names_file_and_key(
    text: str, expected: str, completions: Path, tmp_path: Path
) -> None:
    with pytest.raises(SFTKeyError, match=expected):
        called("score", completions, "--out", tmp_path / "v.parquet", "--config", config(tmp_path, text))
    assert not (tmp_path / "v.parquet").exists()


def test_a_flag_wants_a_boolean_and_a_wrong_option_of_the_command_line_stays_wrong_usage(
    completions: Path, tmp_path: Path
) -> None:
    file = config(tmp_path, "allow-different-template = 'yes'")
    with pytest.raises(SFTKeyError, match=r"allow-different-template: found 'yes', expected true or false"):
        called("report", completions.parent, "--out", tmp_path / "report", "--config", file)
    done: Any = call("score", completions, "--out", "v.parquet", "--config", config(tmp_path, ""), "--workers", "x")
    assert done.exit_code == 2
    with pytest.raises(SFTKeyError, match=r"config file not found: .*none\.toml"):
        called("score", completions, "--out", tmp_path / "v.parquet", "--config", tmp_path / "none.toml")


def test_a_table_gives_an_option_of_names_and_values(completions: Path, tmp_path: Path) -> None:
    text = "judge-url = 'http://127.0.0.1:9/v1'\njudge-model = 'm'\n[judge-arg]\nmax_tokens = 5\nn = 2\n"
    with pytest.raises(SFTKeyError, match="--judge-arg n: it is set here"):
        called("score", completions, "--out", tmp_path / "v.parquet", "--config", config(tmp_path, text))
