"""What lies beside exported files: a card that says how to load them, and a configuration for axolotl."""

import json

import pyarrow as pa

from sftkey_data.export.exported import Exported
from sftkey_data.prepared.manifest import TOKENIZER_FOLDER, Manifest
from sftkey_data.schema import shard_schema


def export_card(manifest: Manifest, out: str, done: Exported) -> str:
    """A README in the hub's format: front matter that names the files, then how to use them."""
    pattern = done.files[0].replace("00000", "*")
    how = {"trl": _trl, "axolotl": _axolotl}.get(done.to, _columns)(out, done)
    types = _types(manifest) if done.to == "jsonl" else ""
    return f"""---
{types}configs:
- config_name: default
  data_files:
  - split: {done.split}
    path: {pattern}
---
# {manifest.dataset} ({manifest.split}), exported from SFTKey shards as {done.to}

{done.rows} examples in {len(done.files)} files, in the order of the shards.
`source-manifest.json` is the manifest of the prepared folder they come from.
{_end(manifest)}
{how}"""


def _types(manifest: Manifest) -> str:
    """The types of the columns for `datasets`: JSON holds none, and it would read 64-bit numbers and nulls."""
    lines = ["dataset_info:", "  features:"]
    for column in shard_schema(tokenized=manifest.tokenizer is not None):
        is_list = pa.types.is_list(column.type)
        kind = column.type.value_type if is_list else column.type
        lines += [f"  - name: {column.name}", f"    {'list' if is_list else 'dtype'}: {kind}"]
    return "".join(f"{line}\n" for line in lines)


def _end(manifest: Manifest) -> str:
    if manifest.tokenizer is None:
        return ""
    return f"Each ends with the token `{manifest.tokenizer.end_token}`, the EOS of the tokenizer in `tokenizer/`.\n"


def axolotl_config(manifest: Manifest, out: str, split: str, longest: int) -> str:
    """The part of an axolotl configuration that names the data; paths as the export was given them."""
    name = manifest.tokenizer.name if manifest.tokenizer else ""
    return f"""# base_model: a model with the tokenizer {json.dumps(name)}
tokenizer_config: {json.dumps(f"{out}/{TOKENIZER_FOLDER}")}
sequence_len: {longest}  # the longest example; with less, axolotl drops or cuts what is longer
datasets:
  - path: {json.dumps(out)}
    split: {json.dumps(split)}
    type:  # empty: the tokens are there
"""


def _trl(out: str, done: Exported) -> str:
    return f"""{_labels(done)}
```python
from datasets import load_from_disk
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

trainer = SFTTrainer(
    model="…",  # with this tokenizer
    args=SFTConfig(max_length={done.longest}),
    train_dataset=load_from_disk({json.dumps(out)})[{json.dumps(done.split)}],
    processing_class=AutoTokenizer.from_pretrained({json.dumps(f"{out}/{TOKENIZER_FOLDER}")}),
)
trainer.train()
```

`max_length`: SFTTrainer cuts what is longer, at 1024 tokens unless told, and the Key stands at the end. The longest
example has {done.longest} tokens. `datasets.load_dataset({json.dumps(out)})` opens the folder too.
"""


def _axolotl(out: str, done: Exported) -> str:
    return f"""{_labels(done)}
Copy the lines of `axolotl.yaml` into the configuration of a run; it names this folder as {json.dumps(out)},
relative to where the run starts. The longest example has {done.longest} tokens: with a smaller `sequence_len`
axolotl drops or cuts it.
"""


def _columns(out: str, done: Exported) -> str:
    tokens = f" {done.tokens} tokens." if done.tokens else ""
    return f"""All columns of the shards (schema version 1).{tokens}
Load it: `datasets.load_dataset({json.dumps(out)})`.
"""


def _labels(done: Exported) -> str:
    return f"""`labels` are the token's id in {", ".join(done.regions)} and -100 elsewhere: {done.target_tokens} of
{done.tokens} tokens carry loss. They are aligned with `input_ids`, the trainer does the shift.
"""
