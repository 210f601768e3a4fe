"""The dataset card that lies beside the shards, so that a folder explains itself and loads by its name."""

from sftkey_data.manifest import Manifest


def dataset_card(manifest: Manifest) -> str:
    """A README in the hub's format: front matter that names the shards, then what they hold."""
    statistics, template = manifest.statistics, manifest.template
    tokenizer = manifest.tokenizer.name if manifest.tokenizer else "none (text only)"
    rejects = "".join(f"| {reason} | {n} |\n" for reason, n in manifest.rejects.items()) or "| none | 0 |\n"
    inputs = "".join(f"| {i.name} | {i.split} | {i.rows} | `{i.sha256[:16]}` |\n" for i in manifest.inputs)
    written = template.before_cot + "…" + template.after_cot + template.before_key + "KEY" + template.after_key
    lengths = "".join(
        f"| {name.replace('_', ' ')} | " + " | ".join(str(statistics[name].get(q, "")) for q in QUANTILES) + " |\n"
        for name in ("example_length", "completion_length", "key_length")
    )
    return f"""---
configs:
- config_name: default
  data_files:
  - split: {manifest.split}
    path: data-*.arrow
---
# {manifest.dataset} ({manifest.split}), prepared with SFTKey

{manifest.counts.written} examples of {manifest.counts.rows_read} rows ({manifest.counts.rejected} rejected).
Schema version {manifest.schema_version}, code version {manifest.code_version}, tokenizer: {tokenizer}.

A completion (template `{template.name}`):

```
{written}
```

| input | split | rows | sha256 |
|---|---|---:|---|
{inputs}
| length in {statistics["unit"]} | {" | ".join(QUANTILES)} |
|---|{"---:|" * len(QUANTILES)}
{lengths}
Share of the Key in the completions: {statistics["key_share"]:.2%}.

| rejected because | rows |
|---|---:|
{rejects}
Load it: `datasets.load_dataset("arrow", data_files="data-*.arrow")`. Rejected rows are in `rejects.jsonl`.
"""


QUANTILES = ("mean", "min", "p50", "p95", "p99", "max")
