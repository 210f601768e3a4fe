"""The dataset card that lies beside the shards, so that a folder explains itself and loads by its name."""

import ast
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sftkey_data.prepared.manifest import LEFT_OUT, Manifest
from sftkey_data.registry import builtin_names

CARD_QUANTILES = ("mean", "min", "p50", "p95", "p99", "max")
HUB_LICENCES = {
    "mit": "mit",
    "apache 2.0": "apache-2.0",
    "none stated": "unknown",
    "stated as unknown on the hub": "unknown",
    "cdla sharing 1.0": "cdla-sharing-1.0",
    **{f"cc by{kind} {n}": f"cc-by{kind}-{n}" for kind in ("", "-sa", "-nc", "-nc-sa") for n in ("3.0", "4.0")},
}
"""What a docstring calls a licence, in small letters with spaces, and the hub's identifier; any other is `other`."""
# the hub's `size_categories`
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
EXAMPLE_CHARACTERS = 1200
TEXT_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


def dataset_card(manifest: Manifest, example: Mapping[str, Any] | None = None) -> str:
    """A README in the hub's format: front matter that names the shards, then what they hold.

    Args:
        manifest: Of the folder.
        example: One row of the shards to show, see `preview.first_example`.
    """
    facts = origin(str(manifest.config["source"]))
    named = [origin(one.source).get("licence") for one in manifest.mix] if manifest.mix else [facts.get("licence")]
    sections = [
        _front_matter(manifest, named),
        _head(manifest, facts),
        *_sources(manifest),
        _format(manifest, example),
        _inputs(manifest),
        _statistics(manifest),
        _rejects(manifest),
        *_left_out(manifest),
        _use(manifest),
    ]
    return "\n".join(sections)


def origin(source: str) -> dict[str, str]:
    """`description`, `source` and `licence` of a dataset, as far as the docstring of its file names them."""
    if source in builtin_names():
        text = importlib.import_module(f"sftkey_data.datasets.{source}").__doc__ or ""
    elif source.endswith(".py") and Path(source).is_file():
        text = ast.get_docstring(ast.parse(Path(source).read_text(encoding="utf-8"))) or ""
    else:
        return {}
    text = text.strip()
    flat = " ".join(text.split())
    found = {"description": text.split("\n")[0]}
    # up to the next sentence, which begins with a capital and a small letter
    if licence := re.search(r"Licen[cs]e: (.+?)\.?(?= [A-Z][a-z]|$)", flat):
        found["licence"] = licence[1]
    if stated := re.search(r"Source: (.+?)\.?(?= Licen[cs]e:|$)", flat):
        found["source"] = stated[1]
    return found


def _front_matter(manifest: Manifest, licences: Sequence[str | None]) -> str:
    """YAML; every free text is written as JSON, which is YAML too."""
    size = next((name for most, name in SIZES if manifest.counts.written < most), "n>10M")
    lines = ["---", f"pretty_name: {json.dumps(f'{manifest.dataset} ({manifest.split}), prepared with SFTKey')}"]
    known = dict.fromkeys(_hub_licence(licence) for licence in licences)
    if None not in known:  # several are a list
        lines += [f"license: {next(iter(known))}"] if len(known) == 1 else ["license:", *(f"- {one}" for one in known)]
    lines += ["task_categories:", "- text-generation", "tags:", "- sftkey", "- chain-of-thought"]
    lines += ["size_categories:", f"- {size}", "configs:", "- config_name: default", "  data_files:"]
    lines += [f"  - split: {json.dumps(manifest.datasets_split)}", "    path: data-*.arrow", "---"]
    return "\n".join(lines)


def _hub_licence(licence: str | None) -> str | None:
    """The hub's word for a licence; None where none is stated, or rows of a generic reader have their own."""
    if licence is None or licence.startswith("that of"):
        return None
    # CC-BY-SA-4.0 becomes `cc by-sa 4.0`, CDLA-Sharing-1.0 `cdla sharing 1.0`
    return HUB_LICENCES.get(re.sub(r"-(?=\d)|(?<=[CA])-", " ", licence.split(",")[0]).lower(), "other")


def _sources(manifest: Manifest) -> list[str]:
    """Of a mix, what each source has given, and whence it is."""
    rows = ""
    for (title, written), one in zip(manifest.by_source.items(), manifest.mix, strict=True):
        facts = origin(one.source)
        share = f"{written / manifest.counts.written:.1%}"
        cells = (_text(facts.get(name, "")) for name in ("source", "licence"))
        rows += f"| {_text(title)} | {written} | {share} | {' | '.join(cells)} |\n"
    return [f"| mixed of | examples | share | source | licence |\n|---|---:|---:|---|---|\n{rows}"] if rows else []


def _head(manifest: Manifest, facts: Mapping[str, str]) -> str:
    counts = manifest.counts
    lines = [f"# {_text(manifest.dataset)} ({_text(manifest.split)}), prepared with SFTKey", ""]
    lines += [_text(facts["description"]), ""] if facts.get("description") else []
    lines += [f"Source: {_text(facts['source'])}.", ""] if "source" in facts else []
    lines += [f"Licence: {_text(facts['licence'])}.", ""] if "licence" in facts else []
    lines += [
        f"{counts.written} examples of {counts.rows_read} rows ({counts.rejected} rejected).{_holdout(manifest)}",
        f"Schema version {manifest.schema_version}, code version {manifest.code_version}, tokenizer: "
        f"{_tokenizer(manifest)}.",
        "",
    ]
    return "\n".join(lines)


def _holdout(manifest: Manifest) -> str:
    if (info := manifest.holdout) is None:
        return ""
    drawn = f"a share of {info.share:g} of the questions was held out, seed {info.seed}"
    if info.part == "train":
        return f" The other {info.other_rows} are in `{_text(info.other)}`: {drawn}."
    return f" They are held out of `{_text(info.other)}`, which has the other {info.other_rows} examples: {drawn}."


def _format(manifest: Manifest, example: Mapping[str, Any] | None) -> str:
    template = manifest.template
    written = template.before_cot + "…" + template.after_cot + template.before_key + "KEY" + template.after_key
    text = f"A completion (template `{template.name}`):\n\n{_fenced(written)}\n"
    if example is not None:
        whole = str(example["prompt"]) + str(example["completion"])
        shown = whole
        if len(whole) > EXAMPLE_CHARACTERS:  # the Key stands at the end
            half = EXAMPLE_CHARACTERS // 2
            shown = f"{whole[:half]}\n… ({len(whole) - 2 * half} characters left out) …\n{whole[-half:]}"
        text += (
            f"\nThe first example, prompt and completion; its Key is {_code(example['gold'])}:\n\n{_fenced(shown)}\n"
        )
    return text


def _inputs(manifest: Manifest) -> str:
    rows = "".join(f"| {_text(i.name)} | {_text(i.split)} | {i.rows} | `{i.sha256[:16]}` |\n" for i in manifest.inputs)
    return f"| input | split | rows | sha256 |\n|---|---|---:|---|\n{rows}"


def _statistics(manifest: Manifest) -> str:
    statistics = manifest.statistics
    unit = statistics["unit"]
    lines = [f"| length in {unit} | {' | '.join(CARD_QUANTILES)} |", f"|---|{'---:|' * len(CARD_QUANTILES)}"]
    for name in ("example_length", "completion_length", "key_length"):
        cells = " | ".join(str(statistics[name].get(q, "")) for q in CARD_QUANTILES)
        lines.append(f"| {name.replace('_', ' ')} | {cells} |")
    lines += ["", f"Key share: {statistics['key_share']:.2%} of the completions' {unit} belong to the Key.", ""]
    if manifest.tokenizer is not None:
        lines += ["| a token crosses, or the prompt's tokens differ | examples |", "|---|---:|"]
        lines += [f"| {name.replace('_', ' ')} | {n} |" for name, n in statistics["straddle"].items()]
        lines.append("")
    noted = {"CoTs shortened": "shortened", "questions that repeat another": "duplicate_questions"}
    lines += [f"{words}: {statistics[name]}.\n" for words, name in noted.items() if statistics.get(name)]
    return "\n".join(lines)


def _rejects(manifest: Manifest) -> str:
    rows = "".join(f"| {_text(reason)} | {n} |\n" for reason, n in manifest.rejects.items()) or "| none | 0 |\n"
    return f"| rejected because | rows |\n|---|---:|\n{rows}"


def _left_out(manifest: Manifest) -> list[str]:
    """What the rows hold and the examples do not, where there is such."""
    rows = "".join(f"| {_text(name)} | {n} |\n" for name, n in manifest.statistics.get("left_out", {}).items())
    return [f"| left out of the rows (`{LEFT_OUT}`) | examples |\n|---|---:|\n{rows}"] if rows else []


def _use(manifest: Manifest) -> str:
    return f"""## Load, look, check

```python
from datasets import load_dataset

examples = load_dataset("DIR", split={json.dumps(manifest.datasets_split)})  # this folder, or its name on the hub
```

```
sftkey-data check DIR --full              # hashes, spans, and every row encoded again
sftkey-data show DIR --html examples.html # page through the examples and the rejects
sftkey-data stats DIR --plot stats.png
```

`manifest.json` names the configuration and the hash of every input and shard; rejected rows are in `rejects.jsonl`.
"""


def _tokenizer(manifest: Manifest) -> str:
    if manifest.tokenizer is None:
        return "none (text only)"
    name = manifest.tokenizer.name
    shown = Path(name).name if Path(name).is_absolute() else name  # a path of the machine says nothing to a reader
    return f"{_text(shown)} (copied to `tokenizer/`), end token: {_code(manifest.tokenizer.end_token)}"


def _text(text: str) -> str:
    """One line of text as Markdown that shows it as it is, also in a table's cell."""
    return TEXT_SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    flat = " ".join(text.split())
    return f"{ticks} {flat} {ticks}" if "`" in flat else f"{ticks}{flat}{ticks}"


def _fenced(text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}\n{text}\n{fence}"
