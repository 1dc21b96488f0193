"""The hub: what is pushed to a stand-in of its HTTP API comes back from it, and offline from what was downloaded before."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.exchange import from_pretrained, push_to_hub, read_vector, write_vector
from exchange_cases import rows_equal, vector_of, without_card
from model_cases import model_of

COMMIT = "c" * 40


class StandIn(BaseHTTPRequestHandler):
    """Repositories in memory: made, committed to, and read file by file."""

    repositories: dict[str, dict[str, bytes]]

    def answer(self, value, code=200, headers=()):
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in (("Content-Length", str(len(body))), *headers):
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != "Bearer secret":
            return self.answer({"error": "Invalid credentials"}, 401)
        parts = self.path.split("?")[0].split("/")
        if self.path == "/api/repos/create":
            asked = json.loads(sent)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.repositories.setdefault(name, {})
            return self.answer({"url": f"https://huggingface.co/{name}", "name": name, "id": name})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        name = "/".join(parts[3:5])
        if "preupload" in parts:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(sent)["files"]
            ]
            return self.answer({"files": files})
        for line in map(json.loads, sent.splitlines()):
            if line["key"] == "file":
                self.repositories[name][line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return self.answer(
            {"success": True, "commitOid": COMMIT, "commitUrl": f"https://huggingface.co/{name}/commit/{COMMIT}"}
        )

    def do_GET(self):
        parts = self.path.split("?")[0].split("/")
        name = "/".join(parts[1:3]) if parts[1] != "api" else "/".join(parts[3:5])
        if parts[1] == "api" and name not in self.repositories:
            return self.answer({"error": "Repository not found"}, 404, [("X-Error-Code", "RepoNotFound")])
        if parts[1] == "api":
            return self.answer({"id": name, "sha": COMMIT, "siblings": []})
        content = self.repositories.get(name, {}).get("/".join(parts[5:]))
        missing = "RepoNotFound" if name not in self.repositories else "EntryNotFound"
        if content is None:
            return self.answer(b"", 404, [("X-Error-Code", missing), ("X-Error-Message", missing)])
        tag = hashlib.sha256(content).hexdigest()
        return self.answer(content, headers=[("X-Repo-Commit", COMMIT), ("ETag", f'"{tag}"')])

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    handler = type("Handler", (StandIn,), {"repositories": {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield f"http://127.0.0.1:{server.server_port}", handler.repositories
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def vector():
    return vector_of(model_of("llama"))


def test_what_is_pushed_comes_back(hub, vector, tmp_path, monkeypatch):
    endpoint, repositories = hub
    write_vector(vector, "hub", tmp_path / "v")
    (tmp_path / "v" / "private.txt").write_text("not for the hub")
    commit = push_to_hub(tmp_path / "v", "me/anger", token="secret", endpoint=endpoint)
    assert COMMIT in commit
    assert sorted(repositories["me/anger"]) == ["README.md", "vector.safetensors"]
    page = repositories["me/anger"]["README.md"].decode()
    assert page.startswith("---\nlibrary_name: emotion-circuits\n")
    assert "base_model" not in page, "tiny-llama is no repository"
    assert 'license_name: "Apache-2.0"' in page
    read = from_pretrained("me/anger", token="secret", endpoint=endpoint)
    assert rows_equal(read, vector)
    assert read.card.value == "anger"
    assert from_pretrained("me/anger", revision=COMMIT, endpoint=endpoint).layers == vector.layers
    # What was downloaded is enough without a connection.
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert rows_equal(read_vector("me/anger"), vector)
    with pytest.raises(EmotionCircuitsError, match="me/joy: no vector could be had from the hub"):
        read_vector("me/joy")


def test_what_the_hub_refuses_is_one_line(hub, vector, tmp_path):
    endpoint, repositories = hub
    write_vector(without_card(vector), "hub", tmp_path / "v")
    with pytest.raises(EmotionCircuitsError, match=r"me/anger: could not be uploaded: .*401") as told:
        push_to_hub(tmp_path / "v", "me/anger", token="wrong", endpoint=endpoint)
    assert "\n" not in str(told.value)
    assert "wrong" not in str(told.value)
    (tmp_path / "v" / "vector.safetensors").write_bytes(b"damaged")
    with pytest.raises(EmotionCircuitsError, match=r"vector\.safetensors: no steering vector"):
        push_to_hub(tmp_path / "v", "me/anger", token="secret", endpoint=endpoint)
    assert repositories == {}
    for name in ("me/nothing", "me/no such name", "a/b--c/../d"):
        with pytest.raises(EmotionCircuitsError, match="no vector could be had"):
            from_pretrained(name, endpoint=endpoint)
    repositories["me/other"] = {"model.safetensors": b""}
    with pytest.raises(EmotionCircuitsError, match="no vector could be had"):
        from_pretrained("me/other", endpoint=endpoint)


def test_the_page_names_a_base_model_that_is_on_the_hub(vector, tmp_path):
    from dataclasses import replace

    made = vector.card.model.model_copy(update={"name": "org/model"})
    write_vector(replace(vector, card=vector.card.model_copy(update={"model": made})), "hub", tmp_path / "v")
    assert 'base_model: "org/model"\n' in (tmp_path / "v" / "README.md").read_text()
