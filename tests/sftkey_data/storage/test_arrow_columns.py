"""Columns made without pyarrow's own way are those that it makes, byte for byte, and no pandas is imported."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sftkey_data.storage.arrow_columns import bytes_column, int_column, ints_of, no_lists, text_column, truth_column

NAMES = pa.list_(pa.string())


def written(column: pa.Array) -> bytes:
    file, table = io.BytesIO(), pa.Table.from_arrays([column], names=["x"])
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


@pytest.mark.parametrize("num", [1, 2, 7, 8, 9, 64, 65, 1000])
def test_columns_are_written_as_those_of_pyarrow(num: int) -> None:
    texts, ascii_texts = ["aé" * (i % 5) + "x" * (i % 3) for i in range(num)], ["ab" * (i % 4) for i in range(num)]
    truths = np.arange(num) % 3 == 0
    pairs = [
        (text_column(texts), pa.array(texts)),
        (text_column(ascii_texts), pa.array(ascii_texts)),
        (text_column(["name"] * num), pa.repeat("name", num)),
        (int_column(np.arange(num, dtype=np.int32)), pa.array(range(num), pa.int32())),
        (int_column(np.arange(num).astype(np.int8)), pa.array(np.arange(num).astype(np.int8))),
        (truth_column(truths), pa.array(truths)),
        (no_lists(NAMES, num), pa.array([None] * num, NAMES)),
        (bytes_column([text.encode() for text in texts]), pa.array([text.encode() for text in texts])),
    ]
    for made, expected in pairs:
        made.validate(full=True)
        assert made.equals(expected)
        assert written(made) == written(expected)


def test_integers_are_read_with_a_null_as_none_of_them() -> None:
    assert ints_of(pa.array([3, None, -1], pa.int32())).tolist() == [3, 0, -1]
    assert ints_of(pa.array([1, 2, 3, 4], pa.int8()).slice(1, 2)).tolist() == [2, 3]


def test_a_small_build_imports_nothing_that_it_does_not_need(tmp_path: Path, shared_data: Path) -> None:
    lines = [{"question": f"{i}?", "answer": f"é {i}\n#### {i}"} for i in range(5)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    code = (
        "import sys\nfrom sftkey_data.building.build import build\n"
        "from sftkey_data.building.build_config import BuildConfig\n"
        "from sftkey_data.building.plan import make_plan, proven\n"
        "rows, tokenizer, out = sys.argv[1:]\n"
        "build(BuildConfig(source='gsm8k', inputs=(rows,)), out)\n"
        "config = BuildConfig(source='gsm8k', inputs=(rows,), tokenizer=tokenizer)\n"
        "recipes, said = proven(make_plan(config, from_file=True))\n"
        "assert recipes[0].fast is not None\n"
        "heavy = ('pandas', 'transformers', 'datasets', 'torch', 'fastokens', 'tiktoken', 'jinja2')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    given = [str(tmp_path / "rows.jsonl"), str(shared_data / "tokenizers" / "gpt2"), str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
