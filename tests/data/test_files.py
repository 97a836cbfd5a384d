"""Files and folders that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from databoost.data.files import read_json, whole_folder, write_bytes, write_json, write_text
from databoost.errors import TableError


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_json_has_known_bytes(tmp_path: Path) -> None:
    value = {"b": [1, 0.5], "a": {"é": None}}
    write_json(tmp_path / "new" / "metrics.json", value)
    text = '{\n  "b": [\n    1,\n    0.5\n  ],\n  "a": {\n    "é": null\n  }\n}\n'
    assert content(tmp_path) == {"new/metrics.json": text.encode()}
    assert read_json(tmp_path / "new" / "metrics.json") == value


def test_json_that_no_other_program_reads_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"loss": float("nan")})
    assert content(tmp_path) == {}


def test_json_that_is_missing_or_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    with pytest.raises(TableError, match=r"metrics\.json does not exist"):
        read_json(path)
    for damaged in (b"", b'{"a": ', b"\xff"):
        path.write_bytes(damaged)
        with pytest.raises(TableError, match=r"metrics\.json is not readable JSON: "):
            read_json(path)


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file"
    write_bytes(path, b"old")
    with path.open("rb") as reader:
        write_text(path, "new\n")
        assert reader.read() == b"old"
    assert content(tmp_path) == {"a/file": b"new\n"}


def test_a_file_gets_its_name_when_its_bytes_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    told: list[tuple[str, bytes]] = []
    sync, replace = os.fsync, os.replace

    def note_sync(number: int) -> None:
        sync(number)
        told.append(("synced", (tmp_path / "file.part").read_bytes()))

    def note_replace(source: Path, target: Path) -> None:
        told.append(("renamed", source.read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_bytes(path, b"whole")
    assert told == [("synced", b"whole"), ("renamed", b"whole")]
    assert content(tmp_path) == {"file": b"whole"}


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_file_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    write_bytes(tmp_path / "file", b"before")

    def fail(number: int) -> None:
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(failure):
        write_bytes(tmp_path / "file", b"half")
    assert content(tmp_path) == {"file": b"before"}


def test_a_folder_appears_when_it_is_filled(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    with whole_folder(folder) as part:
        write_text(part / "curve.csv", "epoch\n")
        assert not folder.exists()
    assert content(tmp_path) == {"new/model/curve.csv": b"epoch\n"}


def test_a_folder_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for name in ("first", "second"):
        with whole_folder(folder) as part:
            assert list(part.iterdir()) == []
            (part / name).touch()
    assert content(tmp_path) == {"model/second": b""}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_folder_before(tmp_path: Path, failure: type[BaseException]) -> None:
    folder = tmp_path / "model"
    with whole_folder(folder) as part:
        (part / "first").touch()

    def fill() -> None:
        with whole_folder(folder) as part:
            (part / "second").touch()
            raise failure

    with pytest.raises(failure):
        fill()
    assert content(tmp_path) == {"model/first": b""}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_a_killed_process_left_is_swept_away(tmp_path: Path) -> None:
    (tmp_path / "model.part" / "old").mkdir(parents=True)
    (tmp_path / "file.part").write_bytes(b"half a fi")
    with whole_folder(tmp_path / "model") as part:
        (part / "new").touch()
    write_bytes(tmp_path / "file", b"whole")
    assert content(tmp_path) == {"model/new": b"", "file": b"whole"}
