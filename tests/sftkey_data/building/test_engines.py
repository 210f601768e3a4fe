"""Any number of workers, any engine and any interruption give the same bytes."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from some_slow import some_slow

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import file_sha256
from sftkey_data.sources import pieces
from sftkey_data.sources.tree_hash import LEAF_BYTES
from sftkey_data.verify.check import check

ROWS = 6000


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> dict[str, Any]:
    """A build of 30 pieces with rejects, rows that the fast encoder leaves alone, and duplicates."""
    path = tmp_path_factory.mktemp("input") / "rows.jsonl"
    with path.open("w") as file:
        for i in range(ROWS):
            accent = "é e\u0301" if i % 7 == 0 else ""
            answer = f"{i} + 1 = {i + 1} {accent}\n#### {i + 1}" if i % 50 else "no answer"
            file.write(json.dumps({"question": f"What comes after {i % 2900}? {accent}", "answer": answer}) + "\n")
    tokenizer = str(shared_data / "tokenizers" / "qwen2.5")
    return {"source": "gsm8k", "inputs": (str(path),), "tokenizer": tokenizer, "shard_rows": 200}


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): file_sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, plan: dict[str, Any]) -> dict[str, str]:
    """The files of an uninterrupted build by one worker."""
    out = tmp_path_factory.mktemp("whole") / "out"
    manifest = build(BuildConfig(**plan), out)
    assert manifest.counts.rejected == ROWS // 50
    assert manifest.statistics["duplicate_questions"] > 0
    check(out, full=True)
    return contents(out)


def start(plan: dict[str, Any], out: Path, machinery: str) -> "subprocess.Popen[bytes]":
    code = (
        "from pathlib import Path\nfrom sftkey_data.building.build import BuildConfig, Machinery, build\n"
        f"build(BuildConfig(**{plan!r}), Path({str(out)!r}), machinery={machinery})"
    )
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=environment)


@pytest.mark.parametrize("workers", some_slow([2, 3], quick=[3]))
def test_many_workers_write_what_one_writes(
    tmp_path: Path, plan: dict[str, Any], whole: dict[str, str], workers: int
) -> None:
    build(BuildConfig(**plan), tmp_path / "out", machinery=Machinery(workers))
    assert contents(tmp_path / "out") == whole


def test_a_worker_that_dies_is_said_and_the_build_goes_on(
    tmp_path: Path, plan: dict[str, Any], whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_at(monkeypatch, "00011")
    with pytest.raises(SFTKeyError, match="a worker process died"):
        build(BuildConfig(**plan), tmp_path / "out", machinery=Machinery(2))
    assert len(list((tmp_path / "out.partial").glob("unit-*.json"))) >= 8
    monkeypatch.undo()
    build(BuildConfig(**plan), tmp_path / "out", machinery=Machinery(2))
    assert contents(tmp_path / "out") == whole


def test_one_flipped_bit_in_the_input_begins_anew(
    tmp_path: Path, plan: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bit is of a piece that is done, and not in the first leaf; the file keeps its size and its time."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{' ' * 999}{line}\n" for line in Path(plan["inputs"][0]).read_text().splitlines()))
    changed = BuildConfig(source="gsm8k", inputs=(str(path),), shard_rows=200)
    with monkeypatch.context() as patch:
        kill_at(patch, "00011")
        with pytest.raises(SFTKeyError, match="a worker process died"):
            build(changed, tmp_path / "out", machinery=Machinery(2))
    content, status = bytearray(path.read_bytes()), path.stat()
    place = content.index(b"after 1100?") + len(b"after ")
    assert place > LEAF_BYTES
    content[place] ^= 3  # after 2100?
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    build(changed, tmp_path / "out", machinery=Machinery(2))
    build(changed, tmp_path / "anew")
    assert contents(tmp_path / "out") == contents(tmp_path / "anew")


def tables(folder: Path, kind: str) -> list[str]:
    """The rows of a build of 20 pieces and more, as files that are not read from any byte on."""
    folder.mkdir()
    rows = [{"question": f"What comes after {i}?", "answer": f"{i} + 1\n#### {i + 1}"} for i in range(400)]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=140)
        return [str(folder / "rows.parquet")]
    for number in range(4):
        part = rows[number * 100 : number * 100 + 100]
        if kind == "folder of parquet":
            pq.write_table(pa.Table.from_pylist(part), folder / f"train-{number:05d}-of-00004.parquet")
        else:
            lines = "".join(f"{json.dumps(row)}\n" for row in part)
            (folder / f"rows-{number}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return [str(folder)] if kind == "folder of parquet" else sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize("kind", some_slow(["parquet", "folder of parquet", "gzip"], quick=["parquet"]))
def test_workers_that_read_tables_write_what_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also where one was killed, and the rest is read by others."""
    config = BuildConfig(source="gsm8k", inputs=tuple(tables(tmp_path / "in", kind)), shard_rows=18, dedup=True)
    build(config, tmp_path / "one")
    with monkeypatch.context() as patch:
        patch.delattr(pieces, "_row_runs")  # by which the parent would read rows and hand them out
        kill_at(patch, "00011")
        with pytest.raises(SFTKeyError, match="a worker process died"):
            build(config, tmp_path / "many", machinery=Machinery(4))
    assert list((tmp_path / "many.partial").glob("unit-*.json"))
    build(config, tmp_path / "many", machinery=Machinery(4))
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_workers_read_tables_where_arrow_had_threads_before(tmp_path: Path) -> None:
    """A thread does not survive a fork, and a worker that waits for one waits for ever."""
    (name,) = tables(tmp_path / "in", "parquet")
    code = (
        "import sys, pyarrow.parquet as pq\nfrom sftkey_data.building.build import BuildConfig, Machinery, build\n"
        "pq.read_table(sys.argv[1], use_threads=True, pre_buffer=True)\n"
        "config = BuildConfig(source='gsm8k', inputs=(sys.argv[1],), shard_rows=18)\n"
        "build(config, sys.argv[2], machinery=Machinery(2))"
    )
    subprocess.run([sys.executable, "-c", code, name, str(tmp_path / "out")], check=True, timeout=60)
    build(BuildConfig(source="gsm8k", inputs=(name,), shard_rows=18), tmp_path / "one")
    assert contents(tmp_path / "out") == contents(tmp_path / "one")


def kill_at(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    """Have the worker of a piece die when its shard is written."""
    from sftkey_data.building import work

    def die(path: Path) -> str:
        if number in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        return file_sha256(path)

    monkeypatch.setattr(work, "file_sha256", die)


def wait_for_pieces(out: Path, num: int, process: "subprocess.Popen[bytes]") -> None:
    partial = out.with_name(f"{out.name}.partial")
    while len(list(partial.glob("unit-*.json"))) < num:
        assert process.poll() is None, "the build ended before it could be killed"
        time.sleep(0.001)


def kill_and_go_on(plan: dict[str, Any], out: Path, machinery: str, moments: list[int]) -> None:
    for num in moments:
        process = start(plan, out, machinery)
        wait_for_pieces(out, num, process)
        process.kill()
        process.wait()
        assert not out.exists()
    assert start(plan, out, machinery).wait() == 0


def test_a_killed_build_of_two_workers_goes_on_to_the_same_bytes(
    tmp_path: Path, plan: dict[str, Any], whole: dict[str, str]
) -> None:
    kill_and_go_on(plan, tmp_path / "out", "Machinery(2)", [3])
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_twenty_kills_lose_nothing(tmp_path: Path, plan: dict[str, Any], whole: dict[str, str], workers: int) -> None:
    moments = sorted(random.Random(workers).choices(range(26), k=20))
    kill_and_go_on(plan, tmp_path / "out", f"Machinery({workers})", moments)
    assert contents(tmp_path / "out") == whole


@pytest.mark.slow
@pytest.mark.usefixtures("ray_alone")
def test_ray_on_two_nodes_one_of_them_killed_writes_the_same_bytes(
    tmp_path: Path, plan: dict[str, Any], whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        out = tmp_path / "out"
        process = start(plan, out, "Machinery(engine='ray')")
        wait_for_pieces(out, 4, process)
        cluster.remove_node(node, allow_graceful=False)
        wait_for_pieces(out, 8, process)
        process.kill()
        process.wait()
        assert start(plan, out, "Machinery(engine='ray')").wait() == 0
        assert contents(out) == whole
    finally:
        cluster.shutdown()
