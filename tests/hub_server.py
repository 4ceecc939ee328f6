"""A stand-in of the Hugging Face hub's HTTP API, as far as huggingface_hub calls it for bundles. See `Hub`."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Files = dict[str, bytes]


class Repository:
    """Commits, the newest last, each all files of a repository."""

    def __init__(self, files: Files, *, gated: bool = False) -> None:
        self.gated = gated
        self.commits: dict[str, Files] = {}
        self.messages: list[str] = []
        self.commit(files, "first")

    def commit(self, files: Files, message: str) -> str:
        name = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.messages.append(message)
        return name

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    def at(self, revision: str) -> tuple[str, Files] | None:
        name = self.head if revision == "main" else revision
        return (name, self.commits[name]) if name in self.commits else None


class Hub:
    """The server: `repositories` by name; `asked` are the requests; `refuse` gives paths a status to answer with."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: Files = {}  # large files that were uploaded, by sha256
        self.asked: list[str] = []
        self.refuse: dict[str, int] = {}
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"  # a connection for each request: none outlives the server
    server_hub: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self._serve()

    do_HEAD = do_POST = do_PUT = do_GET

    def _serve(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        path = unquote(parts.path)
        self.server_hub.asked.append(f"{self.command} {path}")
        for pattern, status in self.server_hub.refuse.items():
            if re.search(pattern, path):
                return self._say(status, {"error": "refused by the test"})
        for method, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, path)
            if self.command in method.split() and found:
                return answer(self, **found.groupdict())
        return self._say(404, {"error": "Not found"}, error="RepoNotFound")

    def _say(self, status: int, answer: Any, *, error: str | None = None, headers: dict[str, str] | None = None) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        if error:
            self.send_header("X-Error-Code", error)
            self.send_header("X-Error-Message", str(answer.get("error")))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _find(self, name: str, revision: str) -> tuple[str, Files] | None:
        """The commit; where there is none, that was answered."""
        repository = self.server_hub.repositories.get(name)
        if repository is None:
            self._say(404, {"error": "Repository not found"}, error="RepoNotFound")
            return None
        found = repository.at(revision)
        if found is None:
            self._say(404, {"error": "Invalid rev id"}, error="RevisionNotFound")
        return found

    def who(self) -> None:
        if not self.headers.get("Authorization"):
            return self._say(401, {"error": "Invalid username or password."})
        return self._say(200, {"type": "user", "name": "user", "auth": {"type": "access_token"}})

    def info(self, name: str, revision: str = "main") -> None:
        found = self._find(name, revision)
        if found:
            siblings = [{"rfilename": path, "size": len(content)} for path, content in found[1].items()]
            gated = "manual" if self.server_hub.repositories[name].gated else False
            self._say(200, {"_id": "1", "id": name, "sha": found[0], "siblings": siblings, "private": False, "gated": gated})

    def tree(self, name: str, revision: str) -> None:
        found = self._find(name, revision)
        if found:
            self._say(200, [{"type": "file", "path": p, "size": len(c), "oid": _oid(c)} for p, c in found[1].items()])

    def resolve(self, name: str, revision: str, path: str) -> None:
        found = self._find(name, revision)
        if not found:
            return None
        commit, files = found
        if self.server_hub.repositories[name].gated:
            return self._say(403, {"error": "Access to this model is restricted"}, error="GatedRepo")
        if path not in files:
            return self._say(404, {"error": "Entry not found"}, error="EntryNotFound", headers={"X-Repo-Commit": commit})
        content = files[path]
        return self._say(200, content, headers={"X-Repo-Commit": commit, "ETag": f'"{_oid(content)}"'})

    def create(self) -> None:
        asked = json.loads(self.body)
        name = f"{asked.get('organization') or 'user'}/{asked['name']}"
        if name in self.server_hub.repositories:
            return self._say(409, {"error": "You already created this model repo", "url": f"{self.server_hub.url}/{name}"})
        self.server_hub.repositories[name] = Repository({".gitattributes": b"*.safetensors filter=lfs\n"})
        return self._say(200, {"url": f"{self.server_hub.url}/{name}", "name": name})

    def yaml(self) -> None:
        bad = "licence-that-is-none" in json.loads(self.body)["content"]
        self._say(
            400 if bad else 200, {"errors": [{"message": '"license" must be one of many'}] if bad else [], "warnings": []}
        )

    def preupload(self, name: str, revision: str) -> None:
        files = json.loads(self.body)["files"]
        large = [each["path"].endswith((".safetensors", ".onnx")) for each in files]
        answer = [
            {"path": each["path"], "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False, "oid": None}
            for each, lfs in zip(files, large)
        ]
        self._say(200, {"files": answer})

    def batch(self, name: str) -> None:
        objects = []
        for each in json.loads(self.body)["objects"]:
            upload = {"href": f"{self.server_hub.url}/stored/{each['oid']}", "header": {}}
            objects.append({"oid": each["oid"], "size": each["size"], "actions": {"upload": upload}})
        self._say(200, {"transfer": "basic", "objects": objects})

    def store(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server_hub.stored[oid] = self.body
        self._say(200, {})

    def commit(self, name: str, revision: str) -> None:
        repository = self.server_hub.repositories[name]
        header, *changes = [json.loads(line) for line in self.body.splitlines()]
        if header["value"].get("parentCommit") not in (None, repository.head):
            return self._say(412, {"error": "A commit has happened since. Please refresh and try again."})
        files = dict(repository.commits[repository.head])
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.server_hub.stored[value["oid"]]
            else:
                del files[value["path"]]
        oid = repository.commit(files, header["value"]["summary"])
        return self._say(200, {"commitUrl": f"{self.server_hub.url}/{name}/commit/{oid}", "commitOid": oid, "success": True})


_NAME = r"(?P<name>[^/]+/[^/]+)"
_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", r"/api/whoami-v2", _Handler.who),
    ("GET", rf"/api/models/{_NAME}", _Handler.info),
    ("GET", rf"/api/models/{_NAME}/revision/(?P<revision>.+)", _Handler.info),
    ("GET", rf"/api/models/{_NAME}/tree/(?P<revision>[^/]+)", _Handler.tree),
    ("GET HEAD", rf"/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
    ("POST", r"/api/repos/create", _Handler.create),
    ("POST", r"/api/validate-yaml", _Handler.yaml),
    ("POST", rf"/api/models/{_NAME}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", rf"/{_NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT", r"/stored/(?P<oid>.+)", _Handler.store),
    ("POST", rf"/api/models/{_NAME}/commit/(?P<revision>.+)", _Handler.commit),
]


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
