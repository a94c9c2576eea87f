"""Models for the hub: what a server on this machine, in the hub's place, is sent by the hub's own client."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autotransfer.cli.main import app
from autotransfer.errors import ConfigError, ExportError
from autotransfer.model.export.hub import push, require_access


class Hub(ThreadingHTTPServer):
    """Takes repositories and commits, and keeps them."""

    def __init__(self) -> None:
        self.repositories: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.tokens: set[str] = set()
        self.refuses = False
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.tokens.add(self.headers["Authorization"])
        if self.server.refuses:
            self._answer({"error": "You have no right to write here"}, 403)
        elif self.path == "/api/repos/create":
            self.server.repositories.append(json.loads(body))
            self._answer({"url": f"{self.server.address}/me/model"})
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path == "/api/models/me/model/preupload/main":
            files = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in files]})
        elif self.path == "/api/models/me/model/commit/main":
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self._answer({"commitUrl": f"{self.server.address}/me/model/commit/0", "commitOid": "0" * 40})
        else:
            self._answer({"error": self.path}, 404)

    def _answer(self, found: Any, status: int = 200) -> None:
        data = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub on this machine, and a token for it."""
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_ours")
    with Hub() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "model.safetensors").write_bytes(bytes(range(256)))
    (tmp_path / "out" / "deep" / "config.json").write_text("{}")
    (tmp_path / "out" / "private.txt").write_text("no file of the model")
    return tmp_path / "out"


def files_of(folder: Path) -> list[Path]:
    return [folder / "model.safetensors", folder / "deep" / "config.json"]


def is_private(about: dict[str, Any]) -> bool:
    """Whether a repository is to be private; the client of the hub has said it in two ways."""
    return about.get("private") is True or about.get("visibility") == "private"


def test_the_hub_gets_every_file_and_the_card(hub: Hub, exported: Path) -> None:
    found = push(exported, files_of(exported), "# A card\n", "me/model", endpoint=hub.address)
    assert found == f"{hub.address}/me/model"
    assert [(about["organization"], about["name"], is_private(about)) for about in hub.repositories] == [
        ("me", "model", True)
    ]
    assert hub.files == {
        "model.safetensors": bytes(range(256)),
        "deep/config.json": b"{}",
        "README.md": b"# A card\n",
    }
    assert hub.tokens == {"Bearer hf_ours"}


def test_a_repository_is_public_where_that_is_asked_for(hub: Hub, exported: Path) -> None:
    push(exported, files_of(exported), "", "me/model", private=False, endpoint=hub.address)
    assert not is_private(hub.repositories[0])


def test_a_refusal_says_why_and_what_to_do(hub: Hub, exported: Path) -> None:
    hub.refuses = True
    with pytest.raises(ExportError, match=r"me/model of the hub did not take it: .*no right to write.*push again"):
        push(exported, files_of(exported), "", "me/model", endpoint=hub.address)


def test_without_a_token_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ConfigError, match=r"no token of the .* hub, which me/model needs: run 'hf auth login'"):
        require_access("me/model")


@pytest.mark.parametrize("name", ["model", "me/model/more", "me/../x", "me/mo del", ""])
def test_a_repository_has_an_owner_and_a_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_ours")
    with pytest.raises(ConfigError, match="called OWNER/NAME"):
        require_access(name)


@pytest.mark.slow
def test_the_command_exports_and_pushes(
    hub: Hub, tiny_zoo: Path, digit_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fixtures.fitting import fit_with

    run = fit_with(
        digit_folder / "train", zoo=tiny_zoo, backbones="test_resnet", heads="ridge", trials=1, ensemble=False,
        out=tmp_path / "run", cache_dir=tmp_path / "cache", progress=False,
    ).run  # fmt: skip
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.address)
    command = ["export", str(run), "--format", "timm", "--out", str(tmp_path / "out"), "--push", "me/model", "--json"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["pushed_to"] == f"{hub.address}/me/model"
    assert set(hub.files) == {"autotransfer.json", "config.json", "model.safetensors", "README.md"}
    assert hub.files["README.md"] == (tmp_path / "out" / "README.md").read_bytes()
    assert b"## Scores by class" in hub.files["README.md"]
