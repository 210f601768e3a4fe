"""Inputs and outputs on a real S3-compatible server that fails: retried or reported, never short."""

import errno
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
pytest.importorskip("moto.server", reason="moto's server is not installed")

import fsspec
from flaky_proxy import FlakyProxy, Rule

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.machinery import Machinery
from sftkey_data.errors import Interrupted, SFTKeyError
from sftkey_data.storage import filesystems
from sftkey_data.storage.file_bytes import exists, file_size, open_read, read_range
from sftkey_data.storage.output_folder import Folder
from sftkey_data.verify.check import check


@pytest.fixture(autouse=True)
def patience(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "slow" in request.node.name:  # the server is slower than this, so that it fails
        monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1}})


CONTENT = bytes(range(256)) * 5000


@pytest.mark.parametrize("kind", ["error", "slow", "cut", "short", "refuse"])
def test_a_file_is_read_whole_although_the_server_fails(proxy: FlakyProxy, kind: str) -> None:
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    rule = Rule(kind, "GET", "/bucket/in/file", times=2)
    proxy.rules.append(rule)
    with open_read("s3://bucket/in/file") as file:
        assert file.read() == CONTENT
    assert read_range("s3://bucket/in/file", 300, 700) == CONTENT[300:700]
    assert rule.seen == 2


@pytest.mark.parametrize("kind", ["error", "cut", "short", "refuse"])
def test_what_keeps_failing_is_one_line(proxy: FlakyProxy, kind: str) -> None:
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    proxy.rules.append(Rule(kind, "GET", "/bucket/in/file", times=10**6))
    with pytest.raises(Interrupted, match=r"s3://bucket/in/file: reading bytes 300 to 700 failed 6 times") as caught:
        read_range("s3://bucket/in/file", 300, 700)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["error", "cut", "refuse", "slow", "mute", "lost"])
def test_an_object_arrives_whole_although_the_server_fails(proxy: FlakyProxy, kind: str, tmp_path: Path) -> None:
    proxy.rules.append(Rule(kind, "PUT", "/bucket/out/", times=2))
    Folder("s3://bucket/out").write_bytes("a/b", CONTENT)
    (tmp_path / "local").write_bytes(CONTENT)
    Folder("s3://bucket/out").put_file(tmp_path / "local", "c")
    assert Folder("s3://bucket/out").names() == ["a/b", "c"]
    assert Folder("s3://bucket/out").read_bytes("a/b") == Folder("s3://bucket/out").read_bytes("c") == CONTENT
    assert not (tmp_path / "local").exists()


def test_reading_asks_for_blocks(proxy: FlakyProxy) -> None:
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    before = proxy.served
    with open_read("s3://bucket/in/file") as file:
        assert file.read(10) == CONTENT[:10]
        assert file.seek(-5, os.SEEK_END) == len(CONTENT) - 5
        assert file.read() == CONTENT[-5:]
        file.seek(0)
        assert file.read() == CONTENT
    assert proxy.served - before <= 6


def test_a_file_that_shrinks_while_it_is_read_is_an_error(proxy: FlakyProxy) -> None:
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    with open_read("s3://bucket/in/file") as file:
        Folder("s3://bucket/in").write_bytes("file", CONTENT[:-1])
        with pytest.raises(Interrupted, match="1279999 of 1280000 bytes came"):
            file.read()


def test_a_folder_is_not_read_as_an_empty_file(proxy: FlakyProxy) -> None:
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    with pytest.raises(SFTKeyError, match="s3://bucket/in is a folder, expected a file"):
        open_read("s3://bucket/in")


def test_a_failing_server_does_not_make_things_absent(proxy: FlakyProxy) -> None:
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    proxy.rules.append(Rule("error", "HEAD", "/bucket/in/file", times=2))
    assert exists("s3://bucket/in/file")
    assert not exists("s3://bucket/in/fil")
    proxy.rules.append(Rule("error", "HEAD", "/bucket/in/file", times=10**6))
    with pytest.raises(Interrupted, match="asking whether it is there failed 6 times"):
        exists("s3://bucket/in/file")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["error", "mute"])
def test_an_upload_in_parts_arrives_whole(proxy: FlakyProxy, tmp_path: Path, kind: str) -> None:
    content = os.urandom(2**20) * 101  # s3fs cuts from 100 MiB on
    (tmp_path / "local").write_bytes(content)
    rules = [Rule(kind, "PUT", "partNumber=2", times=1), Rule(kind, "POST", "uploadId=", times=1)]
    proxy.rules += rules
    Folder("s3://bucket/out").put_file(tmp_path / "local", "large")
    assert [rule.seen for rule in rules] == [1, 1]
    assert Folder("s3://bucket/out").read_bytes("large") == content


def test_a_right_that_is_missing_keeps_what_is_done(proxy: FlakyProxy) -> None:
    proxy.rules.append(Rule("forbidden", "PUT", "/bucket/out", times=10**6))
    before = proxy.served
    with pytest.raises(Interrupted, match=r"s3://bucket/out/a: writing it: PermissionError"):
        Folder("s3://bucket/out").write_bytes("a", b"1")
    assert proxy.served - before == 1


PUBLISHING_BREAKS = [
    pytest.param(breaking, old, marks=() if old == "another" else pytest.mark.slow)
    for breaking in [("PUT", "/bucket/o/d1"), ("PUT", "/bucket/o/last"), ("DELETE", "o.partial/d1")]
    for old in ("nothing", "another", "the same, damaged")
]


@pytest.mark.parametrize(("breaking", "old"), [*PUBLISHING_BREAKS, (("DELETE", "/bucket/o/d9"), "another")])
def test_an_interrupted_publishing_goes_on_and_loses_nothing(
    proxy: FlakyProxy, breaking: tuple[str, str], old: str
) -> None:
    half, final = Folder("s3://bucket/o.partial"), Folder("s3://bucket/o")
    files = {name: name.encode() for name in ("d0", "d1", "sub/d2", "last")}
    before = {
        "nothing": {},
        "another": {"d0": b"x0", "d9": b"x9", "last": b"old"},
        "the same, damaged": files | {"d1": b"xx"},
    }
    for folder, content in ((half, files), (final, before[old])):
        for name, value in content.items():
            folder.write_bytes(name, value)
    rule = Rule("error", *breaking, times=10**6)
    proxy.rules.append(rule)
    with pytest.raises(Interrupted):
        half.publish(final, last="last")
    if "o.partial" not in breaking[1] and old != "the same, damaged":
        assert "last" not in final.names()
    rule.times = 0
    half.publish(final, last="last")
    assert {name: final.read_bytes(name) for name in final.names()} == files
    assert half.names() == []
    with pytest.raises(SFTKeyError, match="last expected, it is not there"):
        half.publish(final, last="last")


def test_what_is_removed_already_may_be_removed_again() -> None:
    folder = Folder("memory://folder")  # unlike S3 it complains
    folder.write_bytes("a", b"1")
    folder.delete("a")
    folder.delete("a")
    assert folder.names() == []


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_local_folder_is_replaced_at_once(tmp_path: Path, scheme: str) -> None:
    half, final = Folder(f"{scheme}{tmp_path}/o.partial"), Folder(f"{scheme}{tmp_path}/o")
    final.write_bytes("old/deep", b"old")
    half.write_bytes("sub/a", b"new")
    (tmp_path / "local").write_bytes(b"moved")
    half.put_file(tmp_path / "local", "sub/b")
    (tmp_path / "o.partial" / ".c.1-2.partial").write_bytes(b"killed")
    assert half.names() == ["sub/a", "sub/b"]
    half.publish(final, last="sub/a")
    assert final.names() == ["sub/a", "sub/b"]
    assert final.child("sub").read_bytes("b") == b"moved"
    assert [path.name for path in tmp_path.iterdir()] == ["o"]
    final.delete("sub/a")
    final.delete("sub/a")
    final.clear()
    final.clear()
    assert not final.exists()


@pytest.mark.parametrize("kind", ["error", "cut", "short", "refuse", None])
@pytest.mark.parametrize(
    ("read", "expected"),
    [(lambda url: open_read(url).read(), CONTENT), (lambda url: read_range(url, 5, 9), CONTENT[5:9])],
    ids=["all", "a range"],
)
def test_a_web_server_without_ranges_is_read_whole(
    tmp_path: Path, kind: str | None, read: Callable[[str], bytes], expected: bytes
) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rules = [Rule(kind, method, "/file", times=2) for method in ("GET", "HEAD")] if kind else []
    with FlakyProxy(server.server_port, rules) as proxy, pytest.MonkeyPatch.context() as patch:
        patch.setattr(filesystems, "FIRST_WAIT_SECONDS", 0.01)
        assert read(f"{proxy.url}/file") == expected
        with pytest.raises(SFTKeyError, match="/nothing: not found"):
            read(f"{proxy.url}/nothing")
        proxy.rules = [Rule("error", method, "/other", times=10**6) for method in ("GET", "HEAD")]
        with pytest.raises(Interrupted, match="asking for its size failed 6 times"):
            read(f"{proxy.url}/other")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("url", "package"), [("gs://b/x", "gcsfs"), ("abfs://b/x", "adlfs")])
def test_a_missing_driver_is_named(url: str, package: str) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    with pytest.raises(SFTKeyError, match=f"pip install {package}"):
        open_read(url)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(SFTKeyError, match=r"nosuch://: .*nosuch"):
        open_read("nosuch://x")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_is_one_line_and_leaves_nothing_short(small_disk: Path, proxy: FlakyProxy) -> None:
    source, folder = small_disk.parent / "source", Folder(str(small_disk / "out"))
    source.write_bytes(CONTENT)
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    full = os.strerror(errno.ENOSPC)
    for write in (
        lambda: folder.write_bytes("file", CONTENT),
        lambda: folder.put_file(source, "file"),
        lambda: Folder("s3://bucket/in").fetch(small_disk / "out"),
    ):
        with pytest.raises(Interrupted, match=rf"out/file cannot be written: {full}$"):
            write()
        assert list((small_disk / "out").iterdir()) == []
    assert source.read_bytes() == CONTENT


def test_a_missing_object_is_not_tried_again(proxy: FlakyProxy) -> None:
    before = proxy.served
    with pytest.raises(SFTKeyError, match="s3://bucket/nothing: not found"):
        open_read("s3://bucket/nothing")
    assert proxy.served - before <= 4
    Folder("s3://bucket/in").write_bytes("file", CONTENT)
    with open_read("s3://bucket/in/file") as file:
        Folder("s3://bucket/in").delete("file")
        with pytest.raises(SFTKeyError, match=r"reading bytes 0 to 1280000: FileNotFoundError"):
            file.read()


@pytest.mark.parametrize(
    "failing", [pytest.param(False, marks=pytest.mark.slow), True], ids=["a quiet server", "a failing server"]
)
def test_a_build_from_and_to_a_server_is_the_local_build(
    proxy: FlakyProxy, tmp_path: Path, shared_data: Path, failing: bool
) -> None:
    lines = [json.dumps({"question": f"What is {i} + 1?", "answer": f"So {i + 1}.\n#### {i + 1}"}) for i in range(400)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    Folder("s3://bucket/raw").write_bytes("rows.jsonl", (tmp_path / "rows.jsonl").read_bytes())
    values: dict[str, Any] = {
        "source": "gsm8k",
        "tokenizer": str(shared_data / "tokenizers" / "gpt2"),
        "shard_rows": 50,
    }
    if failing:
        for method in ("GET", "PUT", "HEAD", "DELETE"):
            proxy.rules += [Rule(kind, method, "/bucket/", times=2) for kind in ("error", "refuse")]
        proxy.rules.append(Rule("cut", "GET", "rows.jsonl", times=1))
    config = BuildConfig(inputs=("s3://bucket/raw/rows.jsonl",), **values)
    built = build(config, "s3://bucket/out", machinery=Machinery(2))
    local = build(BuildConfig(inputs=(str(tmp_path / "rows.jsonl"),), **values), tmp_path / "local")
    Folder("s3://bucket/out").fetch(tmp_path / "fetched")
    check(tmp_path / "fetched", full=True)
    for shard in local.shards:
        assert (tmp_path / "fetched" / shard.file).read_bytes() == (tmp_path / "local" / shard.file).read_bytes()
    assert Folder("s3://bucket/out.partial").names() == []
    assert build(config, "s3://bucket/out") == built  # it is there already
    with pytest.raises(SFTKeyError, match="is not empty"):
        build(BuildConfig(inputs=("s3://bucket/raw/rows.jsonl",), **values | {"shard_rows": 60}), "s3://bucket/out")


@pytest.mark.slow
def test_an_upload_that_keeps_failing_leaves_no_manifest_and_goes_on_later(
    proxy: FlakyProxy, tmp_path: Path, shared_data: Path
) -> None:
    rows = "".join(json.dumps({"question": f"{i}?", "answer": f"So.\n#### {i}"}) + "\n" for i in range(40))
    (tmp_path / "rows.jsonl").write_text(rows)
    config = BuildConfig(source="gsm8k", inputs=(str(tmp_path / "rows.jsonl"),), shard_rows=10)
    rule = Rule("error", "PUT", "/bucket/out2.partial/data-00002", times=10**6)
    proxy.rules.append(rule)
    with pytest.raises(Interrupted, match=r"data-00002.arrow: writing it failed 6 times"):
        build(config, "s3://bucket/out2")
    assert Folder("s3://bucket/out2").names() == []
    rule.times = 0
    done = file_size("s3://bucket/out2.partial/data-00000.arrow")
    assert build(config, "s3://bucket/out2").counts.written == 40
    assert file_size("s3://bucket/out2/data-00000.arrow") == done


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path, shared_data: Path) -> None:
    rows = "".join(json.dumps({"question": f"{i}?" * 20, "answer": f"So.\n#### {i}"}) + "\n" for i in range(4000))
    (tmp_path / "rows.jsonl").write_text(rows)
    config = f"BuildConfig(source='gsm8k', inputs=({str(tmp_path / 'rows.jsonl')!r},), shard_rows=1000)"
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))\n"
        "from pathlib import Path; from sftkey_data.building.build import BuildConfig, build\n"
        "from sftkey_data.errors import Interrupted\n"
        f"try: build({config}, {str(tmp_path / 'out')!r})\n"
        "except Interrupted as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cannot be written" in done.stdout
    assert not (tmp_path / "out").exists()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
