"""A small server that answers the calls which `huggingface_hub` makes."""

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Repositories with their commits, in memory."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Calls)
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}  # repository, commit or branch, file
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        self.blobs: dict[str, bytes] = {}
        self.paths: list[str] = []
        self.large = ".safetensors"  # the end of the names of files that are to be uploaded apart

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        branch = self.commits.setdefault(repo, {})
        tree = branch.get("main", {}) | files
        name = hashlib.sha1(json.dumps([sorted(tree), len(branch)]).encode()).hexdigest()
        branch["main"] = branch[name] = tree
        return name


class Calls(BaseHTTPRequestHandler):
    """The calls, in the form of https://huggingface.co/docs/hub/api."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *parts: object) -> None:
        pass

    def answer(self, body: object = b"", status: int = 200, **headers: str) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        path = self.path.split("?")[0]
        if match := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/(revision|tree)/([\w.-]+)", path):
            self.files(*match.groups())
        elif match := re.fullmatch(r"/(\w+/[\w.-]+)/resolve/([\w.-]+)/(.+)", path):
            repo, revision, name = match.groups()
            data = self.server.commits[repo][revision][name]
            etag = hashlib.sha256(data).hexdigest()
            self.answer(data, ETag=f'"{etag}"', X_Repo_Commit=self.named(repo, revision))
        else:
            self.answer(status=404)

    do_HEAD = do_GET

    def files(self, repo: str, kind: str, revision: str) -> None:
        if repo not in self.server.commits:
            self.answer({"error": "Repository not found"}, 404, X_Error_Code="RepoNotFound")
        elif revision not in self.server.commits[repo]:
            self.answer({"error": "Invalid rev id"}, 404, X_Error_Code="RevisionNotFound")
        elif kind == "tree":
            tree = self.server.commits[repo][revision]
            self.answer(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in tree.items()
                ]
            )
        else:
            tree = self.server.commits[repo][revision]
            siblings = [{"rfilename": name} for name in tree]
            self.answer({"id": repo, "sha": self.named(repo, revision), "siblings": siblings})

    def named(self, repo: str, revision: str) -> str:
        """The commit that a branch is at."""
        branch = self.server.commits[repo]
        return next(name for name, tree in branch.items() if name != "main" and tree is branch[revision])

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        body = self.body()
        if self.path == "/api/validate-yaml":
            assert json.loads(body)["content"].startswith("---\nlibrary_name: atst\n")
            self.answer({"errors": [], "warnings": []})
        elif not self.headers.get("Authorization"):
            self.answer({"error": "Invalid username or password."}, 401)
        elif self.path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            self.server.private[repo] = asked.get("private", asked.get("visibility") == "private")
            self.server.commits.setdefault(repo, {})
            self.answer({"url": f"{self.server.address}/{repo}"})
        elif match := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/preupload/main", self.path):
            paths = [file["path"] for file in json.loads(body)["files"]]
            modes = ["lfs" if path.endswith(self.server.large) else "regular" for path in paths]
            self.answer(
                {
                    "files": [
                        {"path": path, "uploadMode": mode, "shouldIgnore": False}
                        for path, mode in zip(paths, modes, strict=True)
                    ]
                }
            )
        elif match := re.fullmatch(r"/(\w+/[\w.-]+)\.git/info/lfs/objects/batch", self.path):
            objects = json.loads(body)["objects"]
            for entry in objects:
                entry["actions"] = {"upload": {"href": f"{self.server.address}/blobs/{entry['oid']}"}}
            self.answer({"transfer": "basic", "objects": objects})
        elif match := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/commit/main", self.path):
            self.take(match[1], [json.loads(line) for line in body.splitlines()])
        else:
            self.answer(status=404)

    def take(self, repo: str, lines: list[dict]) -> None:
        files = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.server.messages.append(value["summary"])
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.server.blobs[value["oid"]]
        name = self.server.commit(repo, files)
        self.answer({"commitUrl": f"{self.server.address}/{repo}/commit/{name}", "commitOid": name})

    def do_PUT(self) -> None:
        self.server.blobs[self.path.rsplit("/", 1)[-1]] = self.body()
        self.answer()
