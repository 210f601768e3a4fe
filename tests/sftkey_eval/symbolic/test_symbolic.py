"""Symbolic equivalence: what is equal, what the policy forbids, and workers that leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sftkey_eval.answers.answer import Answer
from sftkey_eval.answers.decision import Decision
from sftkey_eval.kinds.grade import grade
from sftkey_eval.policy import DEFAULT_POLICY, Policy
from sftkey_eval.symbolic import symbolic_process
from sftkey_eval.symbolic.cost_guard import refusal
from sftkey_eval.symbolic.symbolic_process import SYMBOLIC, SymbolicProcess
from sftkey_eval.symbolic.symbolic_rule import same_expression, second_opinion

pytest.importorskip("math_verify")

EQUAL = [
    ("(x+1)^2", "x^2+2x+1"),
    (r"\sqrt{1/n}", r"\frac{1}{\sqrt{n}}"),
    (r"\sqrt{3+2\sqrt2}", r"1+\sqrt{2}"),
    (r"1+\sqrt2,1-\sqrt2", r"1\pm\sqrt{2}"),
    (r"(\pi,8),(8,\pi)", r"(8,\pi), (\pi,8)"),
    (r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix} 1 \\ \frac{4}{2} \end{pmatrix}"),
    (r"\{1,2,3,4\}", r"\{1,3\}\cup\{2,4\}"),
    ("x>2", "2<x"),
    ("x>2", r"(2,\infty)"),
    ("2x+4y-3=0", r"y=-\frac12x+\frac34"),
    ("(1+i)^2", "2i"),
    (r"-2\le x\le 7", r"x \in [-2,7]"),
    (r"\frac{\pi}{2}+1", r"1+\\frac{\\pi}{2}"),
    (r"5\pi", r"5\pi\text{ cm}"),
]
FORBIDDEN = [
    ("brackets", r"[1,\pi]", r"(1,\pi)"),
    ("a tuple is no set", r"(1,\pi)", r"\{1,\pi\}"),
    ("a tuple is no comma list", r"(1,\pi)", r"1,\pi"),
    ("order of a tuple", r"(1,\pi)", r"(\pi,1)"),
    ("empty intervals", r"(9,\pi)", r"(7,\pi)"),
    ("rows of a matrix", r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix} 2 \\ 1\end{pmatrix}"),
    ("shape of a matrix", r"\begin{pmatrix}1\\ 2\end{pmatrix}", r"\begin{pmatrix} 1 & 2\end{pmatrix}"),
    ("decimals are exact", r"2\pi", "6.283185307179586"),
    ("decimals before symbols", r"\frac{1}{3}x", "0.333333x"),
    ("units", r"5\pi\text{ cm}", r"5\pi\text{ m}"),
    ("hedges", r"\pi", r"3 or \pi"),
    ("a relation turned around", "x>2", "x<2"),
    ("a strict relation", "x>2", r"x\ge 2"),
    ("an equation is no value", "5", "x+y=5"),
    ("names", r"x=\pi", r"y=\pi"),
    ("symbols", "x+1", "y+1"),
    ("case of symbols", "A+1", "a+1"),
    ("both signs", r"\pm\pi", r"\pi"),
    ("a ratio is no fraction", r"\pi:4", r"\frac{\pi}{4}"),
    ("absolute values", "x", r"\sqrt{x^2}"),
]
HOSTILE = [
    "9^{9^{9^9}}",
    "9^9^9^9",
    "10000000!",
    "((5!)!)!",
    "(" * 5_000 + "1" + ")" * 5_000,
    "9" * 1_000_000,
    r"\binom{100000}{50000}",
    r"\Gamma(10^{9})",
    r"\cup".join(f"({i},{i}.5)" for i in range(60)),
    "(x+1)^{99999}",
    "__import__('os').system('touch PWN')",
    "[__import__('os').system('touch PWN'),2]",
    "x" + "+x^{999}y^{999}" * 60,
]


def asked(gold: str, predicted: str, policy: Policy = DEFAULT_POLICY) -> Decision:
    """What this rule says, also where a cheaper one would have decided."""
    return Decision(*same_expression(Answer(gold), Answer(predicted), policy))


@pytest.mark.parametrize(("gold", "predicted"), EQUAL)
def test_equal_expressions_are_equal_in_both_directions(gold: str, predicted: str) -> None:
    for pair in ((gold, predicted), (predicted, gold)):
        decision = asked(*pair)
        assert (decision.verdict, decision.rule) == ("correct", "symbolic"), pair


@pytest.mark.parametrize(("gold", "predicted"), [case[1:] for case in FORBIDDEN], ids=[case[0] for case in FORBIDDEN])
def test_what_the_policy_forbids_is_wrong_in_both_directions(gold: str, predicted: str) -> None:
    assert asked(gold, predicted).verdict == "wrong"
    assert asked(predicted, gold).verdict != "correct"


def test_the_grammar_reads_nothing_past_a_sign_it_does_not_know() -> None:
    for predicted in (
        "1 000",
        r"\sin 30^\circ",
        "1011_2 + x",
        r"3x\% + 1",
        "1/2x",
        "a/bc",
        r"x/2\sqrt{3}",
        "0xF",
        r"0.3\ldots + x",
    ):
        assert asked("x", predicted).verdict == "undecided", predicted


def test_rounding_is_the_policys() -> None:
    assert asked(r"2\pi", "6.28").verdict == "wrong"
    assert asked(r"2\pi", "6.28", policy=Policy(rounding=2)).verdict == "correct"
    assert asked(r"2\pi", "6.29", policy=Policy(rounding=2)).verdict == "wrong"


@pytest.mark.parametrize("text", HOSTILE, ids=[text[:20] for text in HOSTILE])
def test_hostile_text_is_never_correct_and_executes_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SYMBOLIC.stop()
    for pair in (("x+1", text), ("1", text)):
        assert grade(*pair, "math").verdict in ("wrong", "undecided")
    assert list(tmp_path.iterdir()) == []


def test_the_guard_refuses_a_gamma_function_of_a_large_number() -> None:
    for text in (r"\Gamma(10^{9})", r"\Gamma\left(1000\right)", r"2\Gamma(5^{x})"):
        assert refusal(text) == "factorial", text


def test_the_guard_lets_ordinary_expressions_through() -> None:
    for text in (r"\frac{x^{2}+1}{2^{10}}", "5!", r"\binom{10}{3}", "2^{100}", "e^{2x}", "3.14159"):
        assert refusal(text) is None, text


def _spin() -> dict[str, object]:
    """What the guard would refuse, asked of the worker itself: a power with 370 million digits."""
    text = r"\frac{9^{9^{9}}}{7}"
    return {"golds": [text], "predicteds": ["1"], "ordered": True, "as_set": False, "rounding": None}


def test_a_request_over_the_limit_kills_the_worker_and_the_next_one_gets_a_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(symbolic_process, "WALL_SECONDS", 60.0)  # so that it is the processor time that ends it
    process = SymbolicProcess()
    assert process.ask(_spin()) == "timeout"
    same = {"golds": ["x+x"], "predicteds": ["2x"], "ordered": True, "as_set": False, "rounding": None}
    assert process.ask(same) == "equal"
    process.stop()


def test_a_worker_that_dies_is_no_wrong_answer() -> None:
    assert asked("y+y", "2y").verdict == "correct"
    assert SYMBOLIC.pid is not None
    os.kill(SYMBOLIC.pid, signal.SIGSTOP)  # so that it is alive when asked and dead before it answers
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(asked, "z+z+1", "2z+1")
        time.sleep(0.5)
        os.kill(SYMBOLIC.pid, signal.SIGKILL)
        decision = answer.result()
    assert (decision.verdict, decision.rule) == ("undecided", "symbolic_crash")


def test_many_threads_share_one_worker_and_get_their_own_answers() -> None:
    with ThreadPoolExecutor(8) as pool:
        verdicts = list(pool.map(lambda n: asked(f"x+{n}", f"{n % 7}+x").verdict, range(28)))
    assert verdicts == ["correct" if n == n % 7 else "wrong" for n in range(28)]


def test_a_forked_child_starts_a_worker_of_its_own() -> None:
    assert asked("k+k", "2k").verdict == "correct"
    pid = SYMBOLIC.pid
    child = os.fork()
    if child == 0:
        right = SYMBOLIC.pid is None and asked("m+m+k", "2m+k").verdict == "correct" and SYMBOLIC.pid not in (None, pid)
        SYMBOLIC.stop()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert asked("n+n+k", "2n+k").verdict == "correct"
    assert SYMBOLIC.pid == pid


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_no_worker_outlives_a_killed_parent() -> None:
    code = (
        "from sftkey_eval.answers.answer import Answer\nfrom sftkey_eval.policy import DEFAULT_POLICY\n"
        "from sftkey_eval.symbolic.symbolic_rule import same_expression\n"
        "from sftkey_eval.symbolic.symbolic_process import SYMBOLIC; import time\n"
        "same_expression(Answer('x+x'),Answer('2x'),DEFAULT_POLICY); print(SYMBOLIC.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert _alive(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(600):
        if not _alive(worker):
            break
        time.sleep(0.1)
    assert not _alive(worker)


def test_the_parent_never_imports_the_grammar() -> None:
    code = (
        "import sys\nfrom sftkey_eval.answers.answer import Answer\nfrom sftkey_eval.policy import DEFAULT_POLICY\n"
        "from sftkey_eval.symbolic.symbolic_rule import same_expression\n"
        "assert same_expression(Answer('x+x'),Answer('2x'),DEFAULT_POLICY)[0] == 'correct'\n"
        "print([name for name in ('antlr4', 'latex2sympy2_extended', 'math_verify', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable], input=code, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_second_grader_keeps_its_own_mind() -> None:
    assert second_opinion(r"\frac{1}{3}", "0.333333")[0] == "correct"  # it rounds, we do not
    assert asked(r"\frac{1}{3}", "0.333333").verdict == "wrong"
    assert second_opinion("5", "6") == ("wrong", "math_verify")
    assert second_opinion("2000", "2000 calories")[0] == "correct"  # prose is read as prose, no product of letters
    assert second_opinion("10", "10 years old now")[0] == "correct"
    assert second_opinion("Evelyn", r"\text{Evelyn}")[0] == "correct"
    assert second_opinion("x + 1", "1 + x")[0] == "correct"
    assert second_opinion("18", "$18$ dollars")[0] == "correct"
    assert second_opinion(r"\frac{1}{2}", "0.5")[0] == "correct"
    assert second_opinion("5", "{")[0] == "wrong"  # what it cannot read it compares as text
    assert second_opinion("5", "9^{9^{9^9}}")[0] == "undecided"
