"""Makes docs/api.md of the docstrings of the Python interface:

python tests/docs/api_page.py
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import sftkey_data
import sftkey_eval
import sftkey_train
import sftkey_train.trl
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.interface.keywords import keywords_of
from sftkey_eval.analysis.allowed_differences import Allowed
from sftkey_eval.scoring.score_options import ScoreOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "api.md"

HEAD = """# Python

What the commands do is also there as functions: for a notebook, a script, or a program of yours. The options are those
of the commands, with the same names and defaults: `--max-tokens 512` is `max_tokens=512`. What a user can mend raises
`sftkey_data.SFTKeyError` with the line that the command would print; nothing is printed on stdout. Importing a package
takes no time, and what a function needs is loaded when it is first asked for. Results show themselves in a notebook.

This page is made of the docstrings by `python tests/docs/api_page.py`. Its examples run in a folder that looks like a
clone after `make demo`, with this file of completions from elsewhere:

<!-- file: theirs.jsonl -->
```json
{"id": "1", "completion": "12 + 30 is 42. The answer is \\\\boxed{42}", "answer": "42"}
{"id": "2", "completion": "7 times 6 is 42. The answer is 42.", "answer": "42"}
{"id": "3", "completion": "9 less 4 is 5. The answer is \\\\boxed{6}", "answer": "5"}
```
"""

CONTENT: Mapping[str, tuple[ModuleType, tuple[str, ...]]] = {
    "Data": (sftkey_data, ("build", "load", "BuiltFolder")),
    "Training": (sftkey_train, ("run", "TrainedRun")),
    "Inside Trainer and SFTTrainer": (sftkey_train.trl, ("with_region_weights", "RegionCollator")),
    "Evaluation": (
        sftkey_eval,
        ("score", "load_verdicts", "rates", "tables", "compare", "ScoredFile", "ComparedRuns"),
    ),
}
OPTIONS: Mapping[str, tuple[Any, str]] = {
    "build": (BuildConfig, "config"),
    "score": (ScoreOptions, "options"),
    "compare": (Allowed, "allowed"),
}
"""The options dataclass of a function, and the parameter that it stands for."""

SLOW = {"run": "trains"}
SECTIONS = ("Args", "Returns", "Raises", "Example")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, (package, names) in CONTENT.items():
        parts.append(f"## {title}\n")
        parts += [_described(package.__name__, name, getattr(package, name)) for name in names]
    return "\n".join(parts)


def _described(package: str, name: str, found: Any) -> str:
    said = sections(inspect.getdoc(found) or "")
    call = _call(name, found)
    lines = [f"### {package}.{name}\n", *([f"`{name}{call}`\n"] if call else []), said["text"], ""]
    lines += [*_arguments(name, said["Args"]), ""] if "Args" in said else []
    lines += [f"**Returns** {_flow(said['Returns'])}\n"] if "Returns" in said else []
    lines += [f"**Raises** `{_flow(said['Raises']).replace(':', '`:', 1)}\n"] if "Raises" in said else []
    lines += _members(found) if inspect.isclass(found) else []
    if "Example" in said:
        lines += [f"<!-- slow: {SLOW[name]} -->"] if name in SLOW else []
        lines += [f"```python\n{inspect.cleandoc(said['Example'])}\n```\n"]
    return "\n".join(lines)


def sections(docstring: str) -> dict[str, str]:
    """The parts of a docstring in Google's style; `text` is what stands before the first."""
    found = {"text": ""}
    at = "text"
    for line in docstring.splitlines():
        if line.removesuffix(":") in SECTIONS and line.endswith(":"):
            at = line.removesuffix(":")
            found[at] = ""
        else:
            found[at] += f"{line}\n"
    return {name: text.strip("\n") for name, text in found.items()}


def _call(name: str, found: Callable[..., Any]) -> str:
    """The parameters of a call, those of an options dataclass as `**options`."""
    if inspect.isclass(found) and name != "RegionCollator":
        return ""
    kind = OPTIONS[name][0] if name in OPTIONS else None
    options = [keyword.parameter for keyword in keywords_of(kind)] if kind else []
    added = {option.name for option in options if option.kind is option.KEYWORD_ONLY}
    kept = [p for p in inspect.signature(found).parameters.values() if p.name not in added]
    shown = str(inspect.Signature([p.replace(annotation=p.empty) for p in kept]))
    return f"{shown[:-1]}, **options)" if kind else shown


def _arguments(name: str, text: str) -> Iterator[str]:
    for argument, said in re.findall(r"^ {4}(\w+): ((?:.*\n?)(?:^ {5,}.*\n?)*)", text, re.M):
        if name in OPTIONS and argument == OPTIONS[name][1]:
            yield f"- `**options`: {_flow(said)}"
        else:
            yield f"- `{argument}`: {_flow(said)}"
    if name in OPTIONS:
        yield ""
        yield "| option | default | |\n|---|---|---|"
        for keyword in keywords_of(OPTIONS[name][0]):
            default = keyword.parameter.default
            shown = "" if default is inspect.Parameter.empty else f"`{default!r}`"
            yield f"| `{keyword.parameter.name}` | {shown} | {keyword.option.help.replace('|', chr(92) + '|')} |"


def _members(kind: type) -> Iterator[str]:
    """What a result has: its fields, properties and methods."""
    hints = getattr(kind, "__dataclass_fields__", {})
    if hints and kind.__name__ != "RegionCollator":
        yield f"- fields: {', '.join(f'`{name}`' for name in hints)}"
    for name, member in vars(kind).items():
        if not name.startswith("_") and name not in hints and (text := inspect.getdoc(member)):
            call = "" if isinstance(member, property) else "()"
            yield f"- `{name}{call}`: {_flow(sections(text)['text'])}"
    yield ""


def _flow(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
