"""A small hub on loopback: as much of the Hugging Face hub's HTTP as its client needs to push."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".arrow", ".safetensors", ".parquet")
"""Names that the hub takes as LFS objects."""


class Hub:
    """Repositories by kind and name, and what each branch of them holds."""

    def __init__(self) -> None:
        self.branches: dict[tuple[str, str], dict[str, bytes]] = {}
        self.created: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.commits = 0
        self.objects: dict[str, bytes] = {}
        self.refuses = False

        class Handler(BaseHTTPRequestHandler):
            hub = self

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.hub.tokens.add(self.headers["Authorization"])
                self.answer(*self.hub.post(unquote(urlsplit(self.path).path), body, self.address()))

            def do_PUT(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                self.hub.objects[hashlib.sha256(content).hexdigest()] = content
                self.answer(200, {})

            def do_GET(self) -> None:
                self.answer(*self.hub.get(unquote(urlsplit(self.path).path)))

            def address(self) -> str:
                return f"http://{self.headers['Host']}"

            def answer(self, status: int, value: Any) -> None:
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def post(self, path: str, body: bytes, address: str) -> tuple[int, Any]:
        if self.refuses:
            return 403, {"error": "You may not\nwrite here"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.endswith("/info/lfs/objects/batch"):
            wanted = json.loads(body)["objects"]
            upload = {"actions": {"upload": {"href": f"{address}/upload"}}}
            objects = [one | ({} if one["oid"] in self.objects else upload) for one in wanted]
            return 200, {"transfer": "basic", "objects": objects}
        if path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            url = f"{address}/{'datasets/' if asked['type'] == 'dataset' else ''}{repo}"
            if (repo, "main") in self.branches:
                return 409, {"error": "exists", "url": url}
            self.created.append(asked)
            self.branches[repo, "main"] = {".gitattributes": b""}
            return 200, {"url": url}
        _, _, _, owner, name, verb, revision = path.split("/", 6)
        return getattr(self, f"_{verb}")(f"{owner}/{name}", revision, body, address)

    def _branch(self, repo: str, revision: str, *_: Any) -> tuple[int, Any]:
        if (repo, revision) in self.branches:
            return 409, {"error": "exists"}
        self.branches[repo, revision] = dict(self.branches[repo, "main"])
        return 200, {}

    def _preupload(self, repo: str, revision: str, body: bytes, _: str) -> tuple[int, Any]:
        names = [file["path"] for file in json.loads(body)["files"]]
        modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
        return 200, {"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]}

    def _commit(self, repo: str, revision: str, body: bytes, address: str) -> tuple[int, Any]:
        files = self.branches[repo, revision]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        self.commits += 1
        return 200, {"commitUrl": f"{address}/{repo}/commit/{self.commits}", "commitOid": f"{self.commits:040x}"}

    def get(self, path: str) -> tuple[int, Any]:
        parts = path.split("/")
        files = self.branches.get((f"{parts[3]}/{parts[4]}", parts[6] if len(parts) > 6 else "main"))
        if files is None:
            return 404, {"error": "not found"}
        tree = [{"type": "file", "path": name, "size": len(files[name]), "oid": "0" * 40} for name in files]
        return 200, tree if "tree" in parts else {"id": "x", "sha": "0" * 40, "siblings": []}
