"""A real S3-compatible server on this machine, behind a proxy that can fail."""

from collections.abc import Iterator

import pytest
from flaky_proxy import FlakyProxy

from sftkey_data.storage import filesystems


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    """Port of the server."""
    pytest.importorskip("s3fs", reason="the extra `s3` is not installed")
    moto_server = pytest.importorskip("moto.server", reason="moto's server is not installed")
    moto = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    yield moto.get_host_and_port()[1]
    moto.stop()


@pytest.fixture
def proxy(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlakyProxy]:
    """An empty `s3://bucket`, reached through a proxy."""
    import s3fs

    with FlakyProxy(server) as proxy:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")  # a body is the content and no more
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # what is tried again here is ours
        monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
        monkeypatch.setattr(filesystems, "FIRST_WAIT_SECONDS", 0.01)
        filesystems.scheme_filesystem.cache_clear()
        fs, _ = filesystems.filesystem("s3://bucket")
        if not fs.exists("bucket"):
            fs.mkdir("bucket")
        for path in fs.find("bucket"):
            fs.rm_file(path)
        yield proxy
    filesystems.scheme_filesystem.cache_clear()
