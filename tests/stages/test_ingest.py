import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from databoost.data.images import encode_png, image_id
from databoost.data.lettering import NUMERALS
from databoost.data.sources import source_digest
from databoost.data.tablefiles import read_table
from databoost.data.tables import CLASSES, RAW_INDEX, TRUTH, UNREADABLE
from databoost.errors import SourceError
from databoost.layout import Layout
from databoost.params import Params, parse_params
from databoost.stages.ingest import ingest

PROJECT = Path(__file__).parents[2]


def params(**data: Any) -> Params:
    """Give the project's own params with another ``data`` and a small synthetic dataset."""
    values = YAML(typ="safe").load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values["data"] |= {"sha256": "", "classes": []} | data
    values["synthetic"] |= {"n_train": 40, "n_val": 20, "n_test": 10, "image_size": 64}
    return parse_params(values)


def png(number: int) -> bytes:
    return encode_png(np.full((2, 2, 1), number, dtype=np.uint8))


def write_photos(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


NAMES = ("train/b/1.png", "train/a/2.png", "val/a/3.png")


def test_a_folder_becomes_raw_images_and_tables(tmp_path, capsys):
    write_photos(tmp_path / "photos", *NAMES)
    (tmp_path / "photos/train/a/empty.png").write_bytes(b"")
    ingest(Layout(tmp_path), params(source="photos"))
    assert tree(tmp_path / "data") == {
        **{f"raw/{name}": png(number) for number, name in enumerate(NAMES)},
        "ingest/images.csv": (
            "image_id,path,split,label\n"
            f"{image_id(png(1))},train/a/2.png,train,a\n"
            f"{image_id(png(0))},train/b/1.png,train,b\n"
            f"{image_id(png(2))},val/a/3.png,val,a\n"
        ).encode(),
        "ingest/unreadable.csv": (b"path,n_bytes,reason\ntrain/a/empty.png,0,the file is empty\n"),
        "ingest/classes.csv": b"label\na\nb\n",
        "ingest/truth.csv": (",".join(TRUTH.columns) + "\n").encode(),
    }
    assert capsys.readouterr().out == (
        "photos: 2 train, 1 val images of 2 classes: a, b\n"
        "1 file(s) left out, all listed in data/ingest/unreadable.csv:\n"
        "  train/a/empty.png: the file is empty\n"
    )


@pytest.mark.parametrize("top", ["", "train/"])
def test_a_validation_share_that_was_drawn_is_told(tmp_path, capsys, top):
    write_photos(tmp_path / "photos", *(f"{top}{c}/{n}.png" for c in "ab" for n in range(5)))
    ingest(Layout(tmp_path), params(source="photos", val_fraction=0.4))
    assert capsys.readouterr().out == (
        "photos: 6 train, 4 val images (val drawn from train, data.val_fraction 0.4) of 2 classes: "
        "a, b\n"
    )


def test_names_are_safe_to_print_and_to_open_in_a_spreadsheet(tmp_path, capsys):
    write_photos(tmp_path / "photos", *NAMES, "=A1", "caf\u00e9\x1b[2J")
    ingest(Layout(tmp_path), params(source="photos"))
    outside = "outside of any class folder: <split>/<class>/ or, without splits, <class>/"
    assert capsys.readouterr().out == (
        "photos: 2 train, 1 val images of 2 classes: a, b\n"
        "2 file(s) left out, all listed in data/ingest/unreadable.csv:\n"
        f"  ./=A1: {outside}\n"
        f"  caf\u00e9\\x1b[2J: {outside}\n"
    )
    listed = read_table(Layout(tmp_path).unreadable, UNREADABLE)
    assert list(listed["path"]) == ["./=A1", "caf\u00e9\x1b[2J"]


def test_a_second_run_replaces_the_first(tmp_path):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    (tmp_path / "photos/train/b/1.png").rename(tmp_path / "photos/train/b/other.png")
    ingest(layout, params(source="photos", classes=["b", "a"]))
    assert sorted(tree(layout.raw)) == ["train/a/2.png", "train/b/other.png", "val/a/3.png"]
    assert sorted(read_table(layout.raw_index, RAW_INDEX)["path"]) == sorted(tree(layout.raw))
    assert list(read_table(layout.classes, CLASSES)["label"]) == ["b", "a"]


def test_a_failed_run_leaves_what_was_there(tmp_path):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    before = tree(tmp_path)
    with pytest.raises(SourceError, match=r"'b' is not in data\.classes"):
        ingest(layout, params(source="photos", classes=["a", "c"]))
    (tmp_path / "photos/val/a/3.png").rename(tmp_path / "photos/val/3.png")
    with pytest.raises(SourceError, match="no readable val image"):
        ingest(layout, params(source="photos"))
    (tmp_path / "photos/val/3.png").rename(tmp_path / "photos/val/a/3.png")
    assert tree(tmp_path) == before
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["ingest", "raw"]


def test_an_altered_folder_is_refused_and_nothing_is_lost(tmp_path):
    write_photos(tmp_path / "photos", *NAMES)
    (tmp_path / "photos/readme.txt").write_bytes(b"as it was")
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    without = tree(tmp_path)
    digest = source_digest("photos", tmp_path)
    ingest(layout, params(source="photos", sha256=digest))
    assert tree(tmp_path) == without
    for name, content in ((NAMES[1], png(9)), ("readme.txt", b"new"), ("val/b/4.png", png(4))):
        file = tmp_path / "photos" / name
        kept = file.read_bytes() if file.exists() else None
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        before = tree(tmp_path)
        got = source_digest("photos", tmp_path)
        match = f"photos has the SHA-256 {got}, but data.sha256 is {digest}: .*`databoost source`"
        with pytest.raises(SourceError, match=match):
            ingest(layout, params(source="photos", sha256=digest))
        assert tree(tmp_path) == before
        assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["ingest", "raw"]
        file.unlink() if kept is None else file.write_bytes(kept)
    ingest(layout, params(source="photos", sha256=digest))
    assert tree(tmp_path) == without


def test_a_persons_own_files_are_not_replaced(tmp_path):
    layout = Layout(tmp_path)
    names = [f"cat/{number}\x1b.jpg" for number in range(7)]
    write_photos(layout.raw, *names)
    before = tree(tmp_path)
    with pytest.raises(SourceError) as raised:
        ingest(layout, params())
    assert str(raised.value) == (
        "data/raw is replaced as a whole, and holds 7 file(s) that databoost did not write, or "
        "not as they are:"
        + "".join(f"\n  - cat/{number}\\x1b.jpg" for number in range(5))
        + "\nMove images to a folder outside the project and name that, `databoost source "
        "../photos`; alter them there; a wrong label is changed by data/corrections.csv. If the "
        "files are not needed, remove data/raw"
    )
    assert tree(tmp_path) == before


def test_an_image_put_among_the_raw_ones_is_not_replaced(tmp_path):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    (layout.raw / "train/a/2.png").rename(layout.raw / "train/b/2.png")
    before = tree(tmp_path)
    with pytest.raises(SourceError, match=r"holds 1 file\(s\) .*\n  - train/b/2\.png\n"):
        ingest(layout, params(source="photos"))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("lost", [None, "data/ingest", ".databoost"])
def test_what_was_altered_among_the_raw_images_is_not_replaced(tmp_path, lost):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    as_written = (layout.raw / "train/b/1.png").read_bytes()
    (layout.raw / "train/b/1.png").write_bytes(png(9))
    (layout.raw / "val/a/3.png").unlink()
    (layout.raw / "val/a/3.png").symlink_to(tmp_path / "nowhere")
    write_photos(layout.raw, "own.png")
    if lost:
        shutil.rmtree(tmp_path / lost)
    before = tree(tmp_path)
    match = (
        r"^data/raw is replaced as a whole, and holds 3 file\(s\) that databoost did not write, or "
        r"not as they are:\n  - own\.png\n  - train/b/1\.png \(altered since\)\n"
        r"  - val/a/3\.png \(altered since\)\nMove images"
    )
    with pytest.raises(SourceError, match=match):
        ingest(layout, params(source="photos"))
    assert tree(tmp_path) == before
    (layout.raw / "train/b/1.png").write_bytes(as_written)
    (layout.raw / "val/a/3.png").unlink()
    (layout.raw / "own.png").unlink()
    ingest(layout, params(source="photos"))
    assert sorted(tree(layout.raw)) == sorted(NAMES)


@pytest.mark.parametrize("lost", ["data/ingest", ".databoost"])
def test_the_stages_own_files_are_replaced_whatever_record_of_them_is_lost(tmp_path, lost):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    written = tree(layout.raw)
    (layout.raw / "train/Thumbs.db").write_bytes(b"of a file manager")
    (layout.raw / ".DS_Store").write_bytes(b"of another")
    shutil.rmtree(tmp_path / lost)
    ingest(layout, params(source="photos"))
    assert tree(layout.raw) == written


@pytest.mark.parametrize("n_in_place", [0, 1])
def test_a_run_that_breaks_off_while_it_puts_its_files_in_place_can_be_repeated(
    tmp_path, monkeypatch, n_in_place
):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    (tmp_path / "photos/val/a/3.png").rename(tmp_path / "photos/val/a/4.png")
    (tmp_path / "photos/train/a/2.png").write_bytes(png(9))
    replace, replaced = os.replace, []

    def breaks_off(source: Path, target: Path) -> None:
        if target in (layout.raw, layout.ingest):
            if len(replaced) == n_in_place:
                raise KeyboardInterrupt
            replaced.append(target)
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", breaks_off)
        with pytest.raises(KeyboardInterrupt):
            ingest(layout, params(source="photos"))
    assert len(replaced) == n_in_place
    ingest(layout, params(source="photos"))
    assert sorted(tree(layout.raw)) == ["train/a/2.png", "train/b/1.png", "val/a/4.png"]
    assert (layout.raw / "train/a/2.png").read_bytes() == png(9)


def test_a_run_that_breaks_off_before_its_files_are_in_place_can_be_repeated(tmp_path, monkeypatch):
    write_photos(tmp_path / "photos", *NAMES)
    layout = Layout(tmp_path)
    ingest(layout, params(source="photos"))
    written = tree(layout.raw)
    (tmp_path / "photos/train/a/2.png").write_bytes(png(9))

    def breaks_off() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "sync", breaks_off)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                ingest(layout, params(source="photos"))
    assert not layout.ingest.exists()
    assert tree(layout.raw) == written
    ingest(layout, params(source="photos"))
    assert (layout.raw / "train/a/2.png").read_bytes() == png(9)


def test_an_archive_gives_the_same_bytes_as_its_folder(tmp_path):
    write_photos(tmp_path / "photos", *NAMES, "train/b/sub/4.png")
    with tarfile.open(tmp_path / "photos.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "photos", "photos")
    ingest(Layout(tmp_path / "one"), params(source=str(tmp_path / "photos")))
    digest = source_digest("photos.tar.gz", tmp_path)
    source = (tmp_path / "photos.tar.gz").as_uri()
    ingest(Layout(tmp_path / "two"), params(source=source, sha256=digest))
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_synthetic_images_have_a_truth_and_the_same_tables(tmp_path, capsys):
    layout = Layout(tmp_path)
    ingest(layout, params(source="synthetic"))
    index = read_table(layout.raw_index, RAW_INDEX)
    truth = read_table(layout.truth, TRUTH)
    assert {path: image_id(content) for path, content in tree(layout.raw).items()} == dict(
        zip(index["path"], index["image_id"], strict=True)
    )
    assert list(index["path"]) == sorted(index["path"])
    assert set(truth["path"]) == set(index["path"])
    assert index["split"].value_counts().to_dict() == {"train": 40, "val": 20, "test": 10}
    assert tuple(read_table(layout.classes, CLASSES)["label"]) == NUMERALS
    assert len(read_table(layout.unreadable, UNREADABLE)) == 0
    assert capsys.readouterr().out == (
        "synthetic: 40 train, 20 val, 10 test images of 10 classes: "
        "i, ii, iii, iv, v, vi, vii, viii, ix, x\n"
    )


def test_declared_classes_hold_for_synthetic_images_too(tmp_path):
    with pytest.raises(SourceError, match=r"'iii' is not in data\.classes"):
        ingest(Layout(tmp_path), params(source="synthetic", classes=["i", "ii"]))
    assert not (tmp_path / "data/raw").exists()


def test_another_process_and_folder_write_the_same_bytes(tmp_path):
    names = [f"{label}/{number}.png" for label in "ab" for number in range(9)]
    write_photos(tmp_path / "photos", *names)
    (tmp_path / "photos/a/notes.txt").write_bytes(b"no image")
    for project, seed in (("one", "1"), ("else/two", "2")):
        (tmp_path / project).mkdir(parents=True)
        text = (PROJECT / "params.yaml").read_text(encoding="utf-8")
        text = text.replace("source: synthetic", f"source: {tmp_path / 'photos'}")
        (tmp_path / project / "params.yaml").write_text(text, encoding="utf-8")
        code = (
            "from pathlib import Path; from databoost.layout import Layout; "
            "from databoost.params import read_params; from databoost.stages.ingest import ingest; "
            "ingest(Layout(Path()), read_params(Path('params.yaml')))"
        )
        path = os.pathsep.join([str(PROJECT / "src"), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path}
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path / project, env=environment, check=True
        )
    assert tree(tmp_path / "one/data") == tree(tmp_path / "else/two/data")
    assert len(tree(tmp_path / "one/data/raw")) == 18
