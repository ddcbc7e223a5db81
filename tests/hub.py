"""A model hub on loopback: the part of the protocol that the huggingface_hub client needs, over folders of checkpoints."""

import contextlib
import hashlib
import json
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from probesteer.files.digests import file_digest

COMMIT = "c" * 40


@dataclass
class Repository:
    """A checkpoint's folder under an id, at one commit and the branch main."""

    folder: Path
    gated: bool = False


def described(path: Path) -> dict[str, object]:
    """A file as the hub lists it: weights by their SHA-256."""
    size = path.stat().st_size
    lfs = {"lfs": {"sha256": file_digest(path), "size": size, "pointerSize": 130}} if path.suffix == ".safetensors" else {}
    return {"rfilename": path.name, "size": size, "blobId": "b" * 40, **lfs}


def listed(path: Path) -> dict[str, object]:
    """The same as a row of the repository's tree."""
    known = described(path)
    lfs = {"lfs": {**known["lfs"], "oid": known["lfs"]["sha256"]}} if "lfs" in known else {}
    return {"type": "file", "path": path.name, "size": known["size"], "oid": known["blobId"], **lfs}


@dataclass
class Hub:
    """Serves repositories; a gated one opens to `token` alone. Remembers how many bytes of each file it sent."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    token: str = "hf_open"
    bytes_per_second: float = float("inf")
    sent: Counter[str] = field(default_factory=Counter)

    def start(self) -> str:
        """Start serving; returns the endpoint."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0].strip("/").split("/")
                api = path[:2] == ["api", "models"]
                owner = path[2:4] if api else path[:2]
                repository = hub.repositories.get("/".join(owner))
                rest = path[4:] if api else path[2:]
                if repository is None:
                    return self.refuse(404, "RepoNotFound")
                if api and rest == ["auth-check"]:
                    return self.refuse(403, "GatedRepo") if self.shut(repository) else self.reply({})
                revision = rest[1] if len(rest) > 1 else "main"
                if revision not in ("main", COMMIT):
                    return self.refuse(404, "RevisionNotFound")
                if api and rest[0] == "tree":
                    return self.reply([listed(path) for path in sorted(repository.folder.iterdir())])
                if api:
                    files = [described(path) for path in sorted(repository.folder.iterdir())]
                    info = {"id": "/".join(owner), "sha": COMMIT, "gated": "auto" if repository.gated else False}
                    return self.reply({**info, "siblings": files, "private": False, "tags": [], "downloads": 0})
                file = repository.folder / "/".join(rest[2:])
                if self.shut(repository):
                    return self.refuse(403, "GatedRepo")
                if not file.is_file():
                    return self.refuse(404, "EntryNotFound")
                self.send(file.read_bytes(), {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

            def shut(self, repository: Repository) -> bool:
                return repository.gated and self.headers.get("Authorization") != f"Bearer {hub.token}"

            def refuse(self, status: int, code: str) -> None:
                self.send(b"", {"X-Error-Code": code, "X-Error-Message": code}, status)

            def reply(self, value: object) -> None:
                self.send(json.dumps(value).encode(), {"Content-Type": "application/json"})

            def send(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
                etag = f'"{hashlib.sha256(body).hexdigest()}"'
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if asked and status == 200:  # of a file that goes on, the client asks for "bytes=N-", and gets it all
                    headers["Content-Range"] = f"bytes {asked[1]}-{asked[2]}/{len(body)}"
                    body, status = body[int(asked[1]) : int(asked[2]) + 1], 206
                self.send_response(status)
                for name, value in {**headers, "ETag": etag, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    name = self.path.rpartition("/")[2]
                    with contextlib.suppress(ConnectionError):  # of a client that was killed
                        for first in range(0, len(body), 2**14):
                            part = body[first : first + 2**14]
                            self.wfile.write(part)
                            hub.sent[name] += len(part)
                            hub.sent["/".join([*self.path.strip("/").split("/")[:2], name])] += len(part)
                            time.sleep(len(part) / hub.bytes_per_second)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self) -> None:
        self.server.shutdown()
