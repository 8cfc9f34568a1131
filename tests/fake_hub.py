# SPDX-License-Identifier: Apache-2.0
"""A Hub on this machine: as much of its HTTP API as pushing and loading a repository takes."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeHub:
    """Serves `repos`, which maps a repository's id to its files. As a context manager."""

    def __init__(self):
        self.repos: dict[str, dict[str, bytes]] = {}
        self.requests: list[str] = []
        hub = self

        class Handler(_Handler):
            repos, requests = hub.repos, hub.requests

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()


def sha(files: dict[str, bytes]) -> str:
    return hashlib.sha1(
        json.dumps(sorted((n, hashlib.sha1(c).hexdigest()) for n, c in files.items())).encode()
    ).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    repos: dict[str, dict[str, bytes]]
    requests: list[str]

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", **headers):
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        self.requests.append(f"POST {self.path}")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.path == "/api/repos/create":
            described = json.loads(body)
            name = f"{described.get('organization') or 'user'}/{described['name']}"
            self.repos.setdefault(name, {})
            self.answer(200, {"url": f"http://{self.headers['Host']}/{name}", "id": name, "name": name})
        elif self.path == "/api/validate-yaml":
            self.answer(200, {"errors": [], "warnings": []})
        elif parts[:2] == ["api", "models"] and parts[4] == "preupload":
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            self.answer(200, {"files": files})
        elif parts[:2] == ["api", "models"] and parts[4] == "commit":
            files = self.repos["/".join(parts[2:4])]
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            url = f"http://{self.headers['Host']}/{'/'.join(parts[2:4])}/commit/{sha(files)}"
            self.answer(200, {"success": True, "commitOid": sha(files), "commitUrl": url})
        else:
            self.answer(404)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.requests.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.path == "/api/whoami-v2":
            self.answer(200, {"name": "user", "type": "user", "auth": {}})
        elif parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in self.repos:
            self.describe("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve" and "/".join(parts[:2]) in self.repos:
            files = self.repos["/".join(parts[:2])]
            content = files.get("/".join(parts[4:]))
            if content is None:
                self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=sha(files))
            else:
                etag = f'"{hashlib.sha1(content).hexdigest()}"'
                self.answer(200, content, ETag=etag, X_Repo_Commit=sha(files))
        else:
            self.answer(404, X_Error_Code="RepoNotFound")

    def describe(self, name, path):
        files = self.repos[name]
        if path[:1] == ["tree"]:
            tree = [{"type": "file", "path": n, "size": len(c), "oid": "0"} for n, c in files.items()]
            self.answer(200, tree)
        else:
            siblings = [{"rfilename": n} for n in files]
            self.answer(200, {"id": name, "sha": sha(files), "siblings": siblings, "private": False, "tags": []})
