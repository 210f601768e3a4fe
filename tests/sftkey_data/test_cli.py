"""The program as a user runs it: a real process, its exit code, its two streams."""

import gzip
import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

FIXTURE = str(Path(__file__).parent / "fixtures" / "gsm8k.jsonl")


def sftkey_data(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sftkey_data.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_build_check_and_show_work_together(tmp_path: Path, shared_data: Path) -> None:
    out, gpt2 = str(tmp_path / "out"), str(shared_data / "tokenizers" / "gpt2")
    built = sftkey_data("build", "gsm8k", "--input", FIXTURE, "--tokenizer", gpt2, "--out", out)
    assert built.returncode == 0
    assert json.loads(built.stdout) | {"out": out, "rows_read": 5, "written": 5} == json.loads(built.stdout)
    assert built.stderr.startswith(f"{out}: 5 read, 5 written, 0 rejected\n")
    assert built.stderr.endswith(f"\nnext: sftkey-data check {out} --full\n")
    checked = sftkey_data("check", out, "--full")
    assert checked.returncode == 0
    assert "5 rows in 1 shards, all good" in checked.stderr
    assert json.loads(checked.stdout)["good"]
    shown = sftkey_data("show", out, "--id", "gsm8k/train/1")
    assert shown.returncode == 0
    assert "key: '2,000'" in shown.stdout
    assert "·2·,·000·" in shown.stdout or "2·,·000" in shown.stdout
    assert "gsm8k/train/0" not in shown.stdout


def test_show_of_a_source_shows_rows_and_rejects(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "q", "answer": "a\\n#### 4"}\n{"question": "q", "answer": ""}\n')
    shown = sftkey_data("show", "gsm8k", "--input", "rows.jsonl", cwd=tmp_path)
    assert "<Answer>\n4\n</Answer>" in shown.stdout
    assert "rows.jsonl:2: rejected: missing_key" in shown.stdout


def test_a_generated_set_takes_its_options(tmp_path: Path) -> None:
    built = sftkey_data("build", "arithmetic", "--set", "num=7", "--set", "regime=choice", "--out", str(tmp_path / "a"))
    assert "7 read, 7 written" in built.stderr


def test_list_names_every_dataset() -> None:
    listed = sftkey_data("list").stdout
    assert "gsm8k\tGSM8K" in listed
    assert "--set regime=" in listed
    medmcqa = listed[listed.index("\nmedmcqa\t") :].split("\n")[1:6]
    assert medmcqa[1].startswith("\tinput openlifescienceai/medmcqa; columns question, opa")
    assert medmcqa[2] == "\trejects by design: missing_cot"
    assert [line.partition("=")[0] for line in medmcqa[3:]] == ["\t--set key", "\t--set first_option"]
    assert "\tinput (name one with --input); columns (named by the options)" in listed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("build", "gsm8", "--out", "x"), "error: unknown dataset 'gsm8' (did you mean 'gsm8k'?)"),
        (("build", "gsm8k", "--input", "no.jsonl", "--out", "x"), "error: input file not found: no.jsonl"),
        (
            ("build", "gsm8k", "--input", FIXTURE, "--tokenizer", "./no", "--out", "x"),
            "error: tokenizer './no' is not there",
        ),
        (
            ("build", "gsm8k", "--input", FIXTURE, "--set", "num", "--out", "x"),
            "error: --set 'num': expected NAME=VALUE",
        ),
        (("check", "no"), "error: no: no manifest.json"),
        (("show", "gsm8k", "--id", "x"), "error: --id needs a prepared folder"),
    ],
)
def test_an_error_is_one_line_and_exit_1(tmp_path: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = sftkey_data(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("build",), ("build", "gsm8k"), ("nothing",), ("check", "x", "--no-such-option")]
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert sftkey_data(*arguments).returncode == 2


def test_help_shows_an_example_and_loads_nothing_heavy() -> None:
    assert "Example:" in sftkey_data("build", "--help").stdout
    code = (
        "import sys; sys.argv = ['sftkey-data', '--help']\nfrom sftkey_data.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'pyarrow', 'datasets', 'transformers', 'tokenizers', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_build_never_loads_torch(tmp_path: Path, shared_data: Path) -> None:
    gpt2 = str(shared_data / "tokenizers" / "gpt2")
    code = (
        f"import sys; sys.argv = 'x build gsm8k --input {FIXTURE} --tokenizer {gpt2} --out o'.split()\n"
        "from sftkey_data.cli import main\ntry: main()\nexcept SystemExit as e: assert not e.code\n"
        "assert sys.modules.get('torch') is None"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "o" / "manifest.json").exists()


def test_an_unknown_id_is_an_error_without_output(tmp_path: Path) -> None:
    sftkey_data("build", "gsm8k", "--input", FIXTURE, "--out", "out", cwd=tmp_path)
    done = sftkey_data("show", "out", "--id", "gsm8k/train/9", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no example with id 'gsm8k/train/9'" in done.stderr


def test_an_error_in_the_middle_of_a_build_is_one_line_too(tmp_path: Path) -> None:
    good = '{"question": "q", "answer": "a #### 1"}\n'
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress((good * 3).encode())[:-5])
    done = sftkey_data("build", "gsm8k", "--input", "rows.jsonl.gz", "--out", "out", cwd=tmp_path)
    said = "Compressed file ended before the end-of-stream marker was reached"
    expected = f"error: rows.jsonl.gz: damaged gzip file: {said}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_ctrl_c_says_that_the_same_command_goes_on_and_it_does(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sftkey_data.cli", "build", "arithmetic", "--set", "num=40000", "--out", "out"]
    # A shell starts its background jobs with SIGINT ignored, and so would be whatever they start.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heed)
    while not (tmp_path / "out.partial" / "plan.sha256").exists():
        assert process.poll() is None, "the build ended before it could be interrupted"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert errors == "interrupted: the same command goes on from what is saved\n"
    # A shell shows 130 for both: CPython ends by the signal itself where it came while a string was being executed.
    assert process.returncode in (130, -signal.SIGINT)
    assert not (tmp_path / "out").exists()
    assert sftkey_data(*command[3:], cwd=tmp_path).returncode == 0
    assert sftkey_data("check", "out", cwd=tmp_path).returncode == 0
