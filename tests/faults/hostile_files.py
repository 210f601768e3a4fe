"""Files that a stranger could hand on to do harm, each with the commands that read such a file."""

import gzip
import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MIB = 2**20
Make = Callable[[Path], None]
"""Writes one hostile file under a name, or what stands in its place."""


@dataclass(frozen=True)
class Hostile:
    """A file that does harm in one way, in the place of one that a command is given.

    Args:
        name: What it does.
        make: Writes it.
        command: Program and arguments, in a folder with `given`.
        place: Below `given`: the file that it stands in the place of.
    """

    name: str
    make: Make
    command: Sequence[str]
    place: str

    @property
    def label(self) -> str:
        return f"{self.command[0]} {self.command[1]}: {self.name} as {self.place}"


class Touch:
    """What a pickle can do when it is loaded: this one makes a file beside it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def deep(path: Path) -> None:
    path.write_bytes(b'{"question":' + b"[" * 100_000)


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 200 * MIB)  # zeros without a line end, and no place on the disk


def gzip_bomb(path: Path) -> None:
    with gzip.open(path, "wb", 6) as file:
        for _ in range(200):
            file.write(b"a" * MIB)


def many_lists(path: Path) -> None:
    """A line below the limit of a line, which as Python's objects takes thirty times as much."""
    with gzip.open(path, "wb", 6) as file:
        file.write(b'{"question":[')
        for _ in range(120):
            file.write(b"[],[]," * (MIB // 6))
        file.write(b"[]]}\n")


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"eval": {}}))
        with archive.open("samples/1_epoch_1.json", "w") as entry:
            for _ in range(200):
                entry.write(b" " * MIB)


def deep_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", "[" * 100_000)


def dictionary_bomb(path: Path) -> None:
    one = pa.array(["x" * 4 * MIB])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000, pa.int32()), one)
    names = ("question", "answer", "id", "completion", "gold")
    pq.write_table(pa.table(dict.fromkeys(names, column)), path, compression="zstd", dictionary_pagesize_limit=8 * MIB)


def lying_footer(path: Path) -> None:
    """One value of 1 GiB, of which the footer says that it has a byte."""
    sink = io.BytesIO()
    table = pa.table({"question": [b"q" * 1000 * MIB]})
    pq.write_table(table, sink, compression="zstd", write_statistics=False, use_dictionary=False)
    said = _varint(2 * pq.ParquetFile(sink).metadata.row_group(0).total_byte_size)  # Parquet's zigzag
    path.write_bytes(sink.getvalue().replace(said, b"\x82" + b"\x80" * (len(said) - 2) + b"\x00"))


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def packed_arrow(path: Path) -> None:
    batch = pa.record_batch([pa.array(["x" * 1900 * MIB])], ["question"])
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
        writer.write_batch(batch)


def arrow_offsets(path: Path) -> None:
    batch = pa.record_batch([pa.array(["a", "bcd"])], ["question"])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    right, wrong = struct.pack("<3i", 0, 1, 4), struct.pack("<3i", 0, 1, 2**30)
    path.write_bytes(path.read_bytes().replace(right, wrong))


def arrow_lengths(path: Path) -> None:
    """A stream whose first message says that it is as long as a message can be."""
    path.write_bytes(b"\xff\xff\xff\xff\xf0\xff\xff\x7f" + b"\0" * 64)


def pickle_weights(path: Path) -> None:
    import torch

    path.unlink(missing_ok=True)
    torch.save({"lm_head.weight": Touch(path.parents[1] / "ran")}, path.with_name("pytorch_model.bin"))


def own_code(path: Path) -> None:
    """A configuration, of a model or a tokenizer, that names Python files beside it."""
    ran = path.parents[1] / "ran"
    names = ("OwnConfig", "OwnModel", "OwnTokenizer")
    text = f"open({str(ran)!r}, 'w')\n" + "".join(f"class {name}: pass\n" for name in names)
    (path.parent / "own.py").write_text(text)
    known = json.loads(path.read_text())
    known.pop("architectures", None)
    auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    auto |= {"AutoTokenizer": [None, "own.OwnTokenizer"]}
    path.write_text(json.dumps(known | {"model_type": "own", "tokenizer_class": "OwnTokenizer", "auto_map": auto}))


def looping_template(path: Path) -> None:
    loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    path.write_text(f"{loops}{{% endfor %}}{{% endfor %}}{{% endfor %}}{{{{ messages[0].content }}}}")


def large_template(path: Path) -> None:
    path.write_text("{{ messages[0].content * 999999999 }}")


def deep_toml(path: Path) -> None:
    path.write_text(f"a = {'[' * 100_000}")


def deep_json(path: Path) -> None:
    path.write_text('{"a":' * 100_000)


ROWS: dict[str, Sequence[Make]] = {
    "rows.jsonl": (deep, endless, pipe, loop),
    "rows.jsonl.gz": (gzip_bomb, many_lists),
    "rows.json.gz": (gzip_bomb,),
    "rows.csv": (endless, pipe),
    "rows.parquet": (dictionary_bomb, lying_footer, endless, pipe),
}
OF_BUILD: dict[str, Sequence[Make]] = {"rows.arrow": (packed_arrow, arrow_offsets, arrow_lengths)}
ROWS_READ_BY: dict[str, Callable[[str], Sequence[str]]] = {
    "build": lambda rows: ("data", "build", "gsm8k", "--input", rows, "--workers", "1", "--out", "out"),
    "show": lambda rows: ("data", "show", "gsm8k", "--input", rows),
    "map": lambda rows: ("data", "map", rows),
    "score": lambda rows: ("eval", "score", rows, "--out", "out.parquet"),
    "grade": lambda rows: ("eval", "grade", rows, "--out", "out.jsonl"),
}
BUILD = ("data", "build", "gsm8k", "--input", "given/rows.jsonl", "--workers", "1", "--out", "out")
TOKENIZED = (*BUILD, "--tokenizer", "given/tok")
GENERATE = ("eval", "generate", "--model", "given/model", "--data", "given/data", "--out", "out/c.jsonl")
TRAIN = ("train", "run", "given/full.toml")
FOLDER_VERBS = (
    ("data", "check", "given/data"),
    ("data", "show", "given/data"),
    ("data", "stats", "given/data"),
    ("data", "export", "given/data", "--to", "trl", "--out", "out"),
    GENERATE,
    TRAIN,
)
PLACES: Sequence[tuple[str, Sequence[Make], Sequence[Sequence[str]]]] = (
    ("log.eval", (zip_bomb, deep_zip, pipe, loop), [("eval", "import", "given/log.eval", "--out", "out.jsonl")]),
    ("log.json", (deep, endless, pipe), [("eval", "import", "given/log.json", "--out", "out.jsonl")]),
    (
        "a.parquet",
        (dictionary_bomb, lying_footer, endless, pipe, loop),
        [
            ("eval", "report", "given/a.parquet", "--out", "out"),
            ("eval", "compare", "given/a.parquet", "given/theirs.parquet", "--out", "out"),
            ("data", "build", "completions", "--set", "verdicts=given/a.parquet", "--out", "out"),
        ],
    ),
    ("data/manifest.json", (deep_json, endless, pipe, loop), FOLDER_VERBS),
    ("data/data-00000.arrow", (packed_arrow, arrow_offsets, arrow_lengths, pipe, loop), FOLDER_VERBS),
    ("tok/tokenizer.json", (deep_json, pipe, loop), [TOKENIZED]),
    ("tok/tokenizer_config.json", (own_code, deep_json, pipe), [TOKENIZED, (*TOKENIZED, "--chat")]),
    ("tok/chat_template.jinja", (looping_template, large_template), [(*TOKENIZED, "--chat")]),
    ("model/model.safetensors", (pickle_weights, endless, pipe, loop), [GENERATE, TRAIN]),
    ("model/config.json", (own_code, deep_json, pipe), [GENERATE, TRAIN]),
    ("full.toml", (deep_toml, endless, pipe, loop), [TRAIN]),
    ("study.toml", (deep_toml, pipe), [("train", "study", "given/study.toml")]),
    ("mine.toml", (deep_toml, pipe), [(*BUILD[:2], "given/mine.toml", *BUILD[3:])]),
    (
        "template.toml",
        (deep_toml, pipe),
        [("eval", "score", "given/theirs.jsonl", "--template", "given/template.toml", "--out", "out.parquet")],
    ),
    (
        "study.json",
        (deep_json, endless, gzip_bomb, pipe, loop),
        [("train", "study", "--report", "given/study.json", "--out", "out")],
    ),
)

HOSTILE = (
    *(
        Hostile(make.__name__, make, read(f"given/hostile/{place}"), f"hostile/{place}")
        for verb, read in ROWS_READ_BY.items()
        for place, makes in {**ROWS, **(OF_BUILD if verb in ("build", "show", "map") else {})}.items()
        for make in makes
    ),
    *(
        Hostile(make.__name__, make, command, place)
        for place, makes, commands in PLACES
        for command in commands
        for make in makes
    ),
)
