import errno
import hashlib
import os
import socket
import ssl
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from urllib.error import URLError

import pytest
from projects import REPOSITORY, written_by
from ruamel.yaml import YAML

from databoost.data import downloads, sources
from databoost.data.downloads import download
from databoost.data.sources import (
    FolderDigest,
    Opened,
    check_digest,
    check_no_output,
    is_remote,
    open_source,
    source_digest,
    source_files,
)
from databoost.errors import SourceError
from databoost.layout import Layout
from databoost.sections import DataParams


def params(source: str, sha256: str = "") -> DataParams:
    return DataParams(source=source, sha256=sha256, classes=(), val_fraction=0.2, seed=0)


def write_files(folder: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def taken(data: DataParams, root: Path) -> dict[str, bytes]:
    """Read the opened source's files; check that no scratch is left."""
    with open_source(data, Layout(root)) as source:
        paths = source_files(source.folder)
        files = {str(path): (source.folder / path).read_bytes() for path in paths}
    assert not (root / ".databoost" / "source").exists()
    return files


def refused(data: DataParams, root: Path, match: str) -> None:
    with pytest.raises(SourceError, match=match), open_source(data, Layout(root)):
        pass
    assert not (root / ".databoost" / "source").exists()


class Handler(BaseHTTPRequestHandler):
    """Answers by path; `archive` is the body of everything that is a ZIP."""

    def __init__(self, archive: bytes, *args) -> None:
        self.archive = archive
        super().__init__(*args)

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/a%20b.zip?token=1")
            self.end_headers()
            return
        if self.path == "/missing.zip":
            self.send_error(404)
            return
        self.send_response(200)
        if self.path == "/named":
            self.send_header("Content-Disposition", 'attachment; filename="../photos.zip"')
        if self.path == "/short.zip":
            self.send_header("Content-Length", str(len(self.archive) + 7))
        elif self.path == "/bad-length.zip":
            self.send_header("Content-Length", "many")
        elif self.path != "/endless.zip":
            self.send_header("Content-Length", str(len(self.archive)))
        self.end_headers()
        self.wfile.write(self.archive)


@pytest.fixture
def server(tmp_path, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    archive = write_zip(tmp_path / "served.zip", {"i/a.png": b"a"}).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, archive)) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_what_is_downloaded_is_told_from_what_is_here():
    urls = ["http://a/b.zip", "HTTPS://a/b.zip", "file:///a/b.zip"]
    assert [is_remote(source) for source in [*urls, "a/b.zip", "s3://a/b.zip", "http/x"]] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


def test_files_are_sorted_and_clutter_is_left_out(tmp_path):
    names = ["b/2.png", "b/10.png", "a.png", "b.png"]
    clutter = [".DS_Store", "b/.hidden.png", ".git/a.png", "b/Thumbs.db", "__MACOSX/b/2.png"]
    clutter += ["b/@eaDir/2.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/a.png", "$RECYCLE.BIN/1.png"]
    clutter += ["System Volume Information/x", "lost+found/#1", "b/ehthumbs.db", "b/Icon\r"]
    clutter += ["__pycache__/a", "b/Desktop.ini", "thumbs.DB"]
    write_files(tmp_path, dict.fromkeys([*names, *clutter], b""))
    found = [str(path) for path in source_files(tmp_path)]
    assert found == ["a.png", "b.png", "b/10.png", "b/2.png"]


def test_a_folder_that_is_ignored_is_not_opened(tmp_path, monkeypatch):
    write_files(tmp_path, {"a.png": b"", "lost+found/b": b"", ".Trash/c": b""})
    scandir = os.scandir

    def no_right(folder: Path) -> Iterator[os.DirEntry[str]]:
        if Path(folder) != tmp_path:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", no_right)
    assert source_files(tmp_path) == [PurePosixPath("a.png")]
    (tmp_path / "b").mkdir()
    with pytest.raises(SourceError, match=r"/b can't be read \(Permission denied\); it is part of"):
        source_files(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path):
    elsewhere = write_files(tmp_path / "elsewhere", {"a.png": b"a"})
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "i").symlink_to(elsewhere)
    (folder / "ii").symlink_to(elsewhere)
    (folder / "loop").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    found = [str(path) for path in source_files(folder)]
    assert found == ["gone.png", "i/a.png", "ii/a.png", "loop"]
    assert len(source_digest(str(folder), tmp_path)) == 64


def test_a_missing_folder_can_not_be_listed(tmp_path):
    with pytest.raises(SourceError, match=r"gone can't be read \(No such file"):
        source_files(tmp_path / "gone")


def test_the_digest_of_a_folder_is_that_of_its_sorted_lines(tmp_path):
    write_files(tmp_path / "photos", {"i/a.png": b"a", "ii/b.png": b"b", ".DS_Store": b"x"})
    lines = sorted([f"{sha256(b'a')}  i/a.png\n", f"{sha256(b'b')}  ii/b.png\n"])
    expected = sha256("".join(lines).encode())
    assert source_digest("photos", tmp_path) == expected
    assert source_digest(f"file://{tmp_path}/photos", Path("/")) == expected
    (tmp_path / "photos").rename(tmp_path / "moved")
    assert source_digest(str(tmp_path / "moved"), Path()) == expected
    (tmp_path / "moved/i/a.png").rename(tmp_path / "moved/ii/a.png")
    assert source_digest("moved", tmp_path) != expected


def test_the_digest_of_a_folder_is_the_same_in_any_order_and_whoever_reads_the_files(tmp_path):
    content = {"i/b.png": b"b", "i/a.png": b"a", "empty": b"", "i-j": b"-"}
    write_files(tmp_path / "photos", content)
    (tmp_path / "photos/gone").symlink_to(tmp_path / "nowhere")
    digest = FolderDigest(tmp_path / "photos")
    for number, (path, data) in enumerate(content.items()):
        digest.add(PurePosixPath(path), data if number % 2 else None)
    digest.add(PurePosixPath("gone"))
    lines = sorted(f"{sha256(data)}  {path}\n" for path, data in content.items())
    assert digest.hexdigest() == sha256("".join(lines).encode())
    assert digest.hexdigest() == source_digest("photos", tmp_path)


def test_bytes_that_were_read_are_not_read_again(tmp_path):
    digest = FolderDigest(tmp_path)
    digest.add(PurePosixPath("not there"), b"x")
    assert digest.hexdigest() == sha256(f"{sha256(b'x')}  not there\n".encode())


def test_the_digest_of_an_archive_is_that_of_the_file(tmp_path):
    archive = write_zip(tmp_path / "a b.zip", {"a": b"a"})
    assert source_digest("a b.zip", tmp_path) == sha256(archive.read_bytes())
    assert source_digest(f"file://{tmp_path}/a%20b.zip", Path()) == sha256(archive.read_bytes())


def test_a_remote_source_has_no_digest_before_it_is_downloaded(tmp_path):
    with pytest.raises(SourceError, match="is not a local file, so its SHA-256 is not known"):
        source_digest("https://example.org/photos.zip", tmp_path)


def test_a_copy_for_an_experiment_finds_what_lies_beside_the_project(tmp_path):
    write_files(tmp_path, {"photos/cat/1.png": b"a cat"})
    copy = tmp_path / "project/.dvc/tmp/exps/standalone/tmp1"
    copy.mkdir(parents=True)
    for root in (tmp_path / "project", copy):
        with open_source(params("../photos"), Layout(root)) as opened:
            assert opened.folder.resolve() == tmp_path / "photos"


@pytest.mark.parametrize("source", ["photos", "photos.zip"])
def test_a_file_that_can_not_be_read_has_no_digest(tmp_path, monkeypatch, source):
    def no_right(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    write_files(tmp_path, {"photos/a.png": b"a", "photos.zip": b"PK"})
    monkeypatch.setattr(sources, "sha256_of", no_right)
    with pytest.raises(SourceError, match=rf"{source}.* can't be read \(Permission denied\)"):
        source_digest(source, tmp_path)


def test_a_folder_is_given_as_it_is(tmp_path):
    photos = write_files(tmp_path / "photos", {"i/a.png": b"a"})
    for digest in ("", "0" * 64):
        with open_source(params("photos", digest), Layout(tmp_path)) as source:
            assert source == Opened(photos, digest)
    assert taken(params("photos"), tmp_path) == {"i/a.png": b"a"}
    assert photos.exists()


@pytest.mark.parametrize("as_url", [False, True])
def test_an_archive_is_unpacked_for_as_long_as_the_block_runs(tmp_path, as_url):
    archive = write_zip(tmp_path / "photos.zip", {"i/a.png": b"a"})
    source = archive.as_uri() if as_url else "photos.zip"
    digest = sha256(archive.read_bytes())
    assert taken(params(source, digest), tmp_path) == {"i/a.png": b"a"}
    with open_source(params(source, digest), Layout(tmp_path)) as opened:
        assert opened == Opened(tmp_path / ".databoost/source/unpacked", "")
    assert list((tmp_path / ".databoost").iterdir()) == []


def test_scratch_of_a_killed_run_is_replaced(tmp_path):
    write_zip(tmp_path / "photos.zip", {"i/a.png": b"a"})
    write_files(tmp_path / ".databoost/source/unpacked", {"i/stale.png": b"stale"})
    assert taken(params("photos.zip"), tmp_path) == {"i/a.png": b"a"}


def test_scratch_is_removed_when_the_block_raises(tmp_path):
    write_zip(tmp_path / "photos.zip", {"i/a.png": b"a"})
    with pytest.raises(KeyboardInterrupt), open_source(params("photos.zip"), Layout(tmp_path)):
        raise KeyboardInterrupt
    assert not (tmp_path / ".databoost/source").exists()


def test_an_altered_archive_is_refused(tmp_path):
    write_zip(tmp_path / "photos.zip", {"i/a.png": b"a"})
    got = source_digest("photos.zip", tmp_path)
    match = f"photos.zip has the SHA-256 {got}, but data.sha256 is {'0' * 64}.*databoost source"
    refused(params("photos.zip", "0" * 64), tmp_path, match)


def test_only_another_digest_is_refused():
    check_digest("photos", "1" * 64, "1" * 64)
    match = f"^photos has the SHA-256 {'1' * 64}, but data.sha256 is {'0' * 64}: it was altered"
    with pytest.raises(SourceError, match=match):
        check_digest("photos", "1" * 64, "0" * 64)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("nowhere", r"data.source nowhere does not exist \(.*nowhere\); allowed are synthetic"),
        ("nowhere.zip", "does not exist"),
        ("~no such user/photos", r"does not exist \(.*/~no such user/photos\)"),
        ("photos.rar", r"photos.rar is no known kind of archive; allowed are .*\.tar\.gz"),
        ("s3://bucket/photos.zip", "does not exist .* an http, https or file URL"),
        ("file://host/photos.zip", "names a file on the host 'host'; a file URL has three slashes"),
    ],
)
def test_a_source_that_is_missing_or_of_another_kind_is_refused(tmp_path, source, match):
    (tmp_path / "photos.rar").write_bytes(b"Rar!")
    refused(params(source), tmp_path, match)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        (".", "data/raw"),
        ("data", "data/raw"),
        ("data/raw", "data/raw"),
        ("data/raw/train", "data/raw"),
        ("data/ingest", "data/ingest"),
        ("data/heldout/test", "data/heldout"),
        ("data/candidates", "data/candidates"),
        ("data/rounds/r02/dataset", "data/rounds"),
        ("data/rounds/r02/dataset.zip", "data/rounds"),
        ("data/rounds/r09/not/there", "data/rounds"),
        ("file:data/audit", "data/audit"),
        ("link", "data/map"),
        ("reports", "reports"),
        (".databoost/source/unpacked", ".databoost"),
    ],
)
def test_what_a_stage_writes_is_no_source(tmp_path, source, output):
    for name in ("raw/train", "ingest", "heldout/test", "candidates", "rounds/r02/dataset", "map"):
        (tmp_path / "data" / name).mkdir(parents=True)
    write_zip(tmp_path / "data/rounds/r02/dataset.zip", {"i/a.png": b"a"})
    stale = write_files(tmp_path / ".databoost/source/unpacked", {"i/a.png": b"a"}) / "i/a.png"
    (tmp_path / "link").symlink_to("data/map")
    source = source.replace("file:", f"file://{tmp_path}/")
    match = (
        f"^data.source {source} overlaps {tmp_path / output}, which is removed and written anew; "
        "copy the images to a folder of their own$"
    )
    with pytest.raises(SourceError, match=match):
        check_no_output(source, Layout(tmp_path))
    with pytest.raises(SourceError, match=match), open_source(params(source), Layout(tmp_path)):
        pass
    assert stale.exists()


def test_no_output_of_a_stage_is_a_source():
    stages = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"].values()
    declared = [stage.get("do", stage) for stage in stages]
    outputs = [path for stage in declared for path in written_by(stage)]
    assert len(outputs) > 20
    for output in outputs:
        with pytest.raises(SourceError, match=r"overlaps .* which is removed and written anew"):
            check_no_output(output, Layout(Path()))


@pytest.mark.parametrize("source", ["synthetic", "https://a/data/raw", "../photos", "data/rawer"])
def test_what_no_stage_writes_is_no_output(source):
    check_no_output(source, Layout(Path()))


def test_a_folder_beside_what_the_stages_write_is_a_source(tmp_path):
    write_files(tmp_path / "data/photos", {"i/a.png": b"a"})
    assert taken(params("data/photos"), tmp_path) == {"i/a.png": b"a"}


def test_a_download_is_unpacked(tmp_path, server):
    digest = sha256((tmp_path / "served.zip").read_bytes())
    for path in ("photos.zip", "endless.zip", "named", "moved", "f%C3%BC.zip", "fü ü.zip?x=1"):
        assert taken(params(f"{server}/{path}", digest), tmp_path) == {"i/a.png": b"a"}, path


def test_a_download_keeps_its_name_and_nothing_else(tmp_path, server):
    for path, name in (("named", "photos.zip"), ("moved", "a_b.zip"), ("x/..%2Fb.zip", "b.zip")):
        assert download(f"{server}/{path}", tmp_path / path).name == name
        assert [found.name for found in (tmp_path / path).iterdir()] == [name]


def test_an_altered_download_is_refused(tmp_path, server):
    refused(params(f"{server}/a.zip", "0" * 64), tmp_path, "has the SHA-256 .* but data.sha256 is")


@pytest.mark.parametrize(
    ("path", "match"),
    [
        ("missing.zip", "missing.zip answered 404 Not Found; check data.source"),
        ("photos.rar", r"photos.rar does not name an archive; its name must end in \.zip"),
        ("short.zip", r"could not be downloaded \((it broke off after \d+ of \d+ bytes|Incompl)"),
        ("bad-length.zip", "could not be downloaded .*'many'"),
    ],
)
def test_a_download_that_fails_is_refused(tmp_path, server, path, match):
    refused(params(f"{server}/{path}"), tmp_path, match)


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS]
)
def test_what_the_system_refuses_is_no_fault_of_the_network(tmp_path, server, monkeypatch, number):
    def refuse(*_) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(downloads, "stream_to_file", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        download(f"{server}/a.zip", tmp_path / "downloads")
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "error",
    [
        URLError(PermissionError(errno.EPERM, "Operation not permitted")),  # by a firewall
        ssl.SSLError(ssl.SSL_ERROR_SSL, "bad record mac"),  # which is the number of EPERM, too
    ],
)
def test_what_the_network_refuses_is_no_fault_of_the_disk(tmp_path, monkeypatch, error):
    def refuse(*_, **__) -> None:
        raise error

    monkeypatch.setattr(downloads.urllib.request, "urlopen", refuse)
    match = r"downloaded \(.*(not permitted|bad record mac).*\); check data.source and the network"
    refused(params("http://a/b.zip"), tmp_path, match)


@pytest.mark.parametrize("path", ["a.zip", "endless.zip"])
def test_a_download_that_is_too_large_is_given_up(tmp_path, server, path):
    with pytest.raises(
        SourceError,
        match=r"could not be downloaded \(it is larger than 10 bytes, which is the limit\)",
    ):
        download(f"{server}/{path}", tmp_path / "downloads", max_bytes=10)
    assert not (tmp_path / "downloads" / path).exists()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.zip", "http:///a.zip", "http://a:b/a.zip"])
def test_a_server_that_is_not_there_is_named(tmp_path, monkeypatch, url):
    monkeypatch.setenv("no_proxy", "*")
    refused(params(url), tmp_path, f"{url} could not be downloaded .*and the network")


def test_a_server_that_is_silent_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip"
        refused(params(url), tmp_path, r"a\.zip could not be downloaded \(timed out\)")
