"""Downloads of weights, from a server on this machine."""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import torchvision

from databoost.errors import ParamsError, WeightsError
from databoost.model import pretrained
from databoost.model.architectures import build_model
from databoost.model.pretrained import download_weights, fetch_weights

CONTENT = bytes(range(256)) * 10
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f"net-{DIGEST[:8]}.pth"
#: They end in a convolution.
HEADLESS = ("squeezenet1_0", "squeezenet1_1")


class Server(HTTPServer):
    """Serves `CONTENT` under `NAME`, damaged in the way that the first folder of a path names."""

    asked: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path == "/nonsense/" + NAME:
            self.wfile.write(b"nonsense\r\n\r\n")
            return
        folder = self.path.removesuffix(NAME)
        if folder not in ("/", "/short/", "/many/", "/altered/"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "many" if folder == "/many/" else str(len(CONTENT)))
        self.end_headers()
        altered = CONTENT[:-1] + b"!" if folder == "/altered/" else CONTENT
        self.wfile.write(altered[:100] if folder == "/short/" else altered)

    def log_message(self, *arguments: Any) -> None:
        """Stay silent."""


@pytest.fixture
def server() -> Iterator[Server]:
    with contextlib.closing(Server(("127.0.0.1", 0), Handler)) as server:
        server.asked = []
        server.close = server.server_close  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "weights" / "net.pth"
    for _ in range(2):
        assert fetch_weights(f"{server.url}/{NAME}", path) == path
        assert path.read_bytes() == CONTENT
    assert server.asked == ["/" + NAME]
    assert [file.name for file in path.parent.iterdir()] == ["net.pth"]


def test_a_damaged_file_is_downloaded_again(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(CONTENT[:-1])
    fetch_weights(f"{server.url}/{NAME}", path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("altered/", f"does not start with {DIGEST[:8]}: the download is damaged or was altered"),
        ("short/", r"could not be downloaded \(it broke off after 100 of 2,560 bytes\)"),
        ("many/", r"could not be downloaded \(invalid literal .*'many'\)"),
        ("missing/", r"could not be downloaded \(Not Found\); fetch it another way, and name the"),
        ("nonsense/", r"could not be downloaded \(nonsense"),
    ],
)
def test_a_bad_download_keeps_nothing(
    server: Server, tmp_path: Path, folder: str, message: str
) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(b"what was there")
    with pytest.raises(WeightsError, match=message):
        fetch_weights(f"{server.url}/{folder}{NAME}", path)
    assert path.read_bytes() == b"what was there"
    assert [file.name for file in tmp_path.iterdir()] == ["net.pth"]


def test_a_full_disk_is_no_fault_of_the_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pretrained, "stream_to_file", refuse)
    with pytest.raises(OSError, match="No space left on device") as caught:
        fetch_weights(f"{server.url}/{NAME}", tmp_path / "net.pth")
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(server: Server, tmp_path: Path) -> None:
    with contextlib.closing(Server(("127.0.0.1", 0), Handler)) as other:
        other.close = other.server_close  # type: ignore[attr-defined]
        url = other.url
    with pytest.raises(WeightsError, match=r"could not be downloaded \(.*refused\)"):
        fetch_weights(f"{url}/{NAME}", tmp_path / "net.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["net.pth", "net-abc.pth", "net-0676ba61.bin", "net-0676BA61.pth"])
def test_a_name_without_a_digest_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        WeightsError, match=r"does not end in -<start of SHA-256>\.pth, so it can't"
    ):
        fetch_weights(f"http://127.0.0.1/{name}", tmp_path / "net.pth")


def test_an_architecture_stands_for_its_first_weights(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def get_model_weights(name: str) -> list[SimpleNamespace]:
        assert name == "resnet50"
        return [SimpleNamespace(url=f"{server.url}/{NAME}"), SimpleNamespace(url="other")]

    monkeypatch.setattr(torchvision.models, "get_model_weights", get_model_weights)
    assert download_weights("resnet50", tmp_path) == tmp_path / "resnet50.pth"
    assert (tmp_path / "resnet50.pth").read_bytes() == CONTENT


def test_torchvisions_own_names_can_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(url: str, timeout: float) -> None:
        asked.append(url)
        raise OSError("no network")

    asked: list[str] = []
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", note)
    names = set(torchvision.models.list_models(torchvision.models)) - {*HEADLESS}
    for name in sorted(names):
        with pytest.raises(WeightsError, match="no network"):
            download_weights(name, tmp_path)
    assert len(asked) == len(names) > 50
    assert all(url.startswith("https://") for url in asked)


@pytest.mark.parametrize("name", [*HEADLESS, "fcn_resnet50", "raft_small", "ResNet50"])
def test_what_no_embedder_takes_is_not_downloaded(tmp_path: Path, name: str) -> None:
    message = rf"^no embedder takes torchvision's weights for '{name}'; allowed are alexnet, .*resn"
    with pytest.raises(ParamsError, match=message) as caught:
        download_weights(name, tmp_path / "weights")
    assert not {"fixed", *HEADLESS} & set(str(caught.value).split(", "))
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("name", HEADLESS)
def test_an_architecture_without_a_linear_end_is_no_embedder(name: str) -> None:
    with pytest.raises(ParamsError, match="does not end in a linear layer"):
        build_model(name, 1, seed=0)


@pytest.mark.parametrize("name", ["vit_b_16", "vit_h_14", "vit_l_32", "maxvit_t"])
def test_weights_for_one_size_are_those_for_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The command tells to embed at 224 pixels; these take images of no other size."""
    asked: list[str] = []
    monkeypatch.setattr(pretrained, "fetch_weights", lambda url, path: asked.append(url))
    download_weights(name, tmp_path)
    sizes = {
        version.url: version.transforms().crop_size
        for version in torchvision.models.get_model_weights(name)
    }
    assert [sizes[url] for url in asked] == [[224]]


def test_an_unknown_architecture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="torchvision has no weights for 'resnet51'; resnet50 is"):
        download_weights("resnet51", tmp_path)
