import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from databoost.data import raw as raw_module
from databoost.data.class_folders import order_classes
from databoost.data.images import encode_png, image_id
from databoost.data.lettering import NUMERALS
from databoost.data.raw import collect
from databoost.data.sources import source_digest
from databoost.errors import SourceError
from databoost.sections import DataParams


def params(classes: tuple[str, ...] = (), val_fraction: float = 0.2, seed: int = 0) -> DataParams:
    return DataParams(
        source="photos", sha256="", classes=classes, val_fraction=val_fraction, seed=seed
    )


def png(number: int) -> bytes:
    """One of 2**16 different images."""
    return encode_png(np.array([[[number // 256], [number % 256]]], dtype=np.uint8))


def write_images(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        write_file(folder / name, png(number))
    return folder


def write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def rows(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(frame.itertuples(index=False, name=None))


def refused(folder: Path, tmp_path: Path, match: str, data: DataParams | None = None) -> None:
    with pytest.raises(SourceError, match=match):
        collect(folder, data or params(), tmp_path / "raw")


SPLITS = ("train/dog/b.png", "train/cat/a.png", "val/cat/a.png", "test/dog/c.png")


@pytest.mark.parametrize("top", ["", "photos", "a/b", "test"])
def test_splits_are_copied_byte_for_byte(tmp_path, top):
    folder = write_images(tmp_path / "source" / top, *SPLITS, "label_book/dog/d.png")
    write_file(folder / "train/cat/.DS_Store", b"x")
    write_file(folder / "train/cat/Thumbs.db", b"x")
    write_file(tmp_path / "source/__MACOSX/train/cat/a.png", b"x")
    found = collect(tmp_path / "source", params(), tmp_path / "raw")
    assert tree(tmp_path / "raw") == {
        path: png(number) for number, path in enumerate([*SPLITS, "label_book/dog/d.png"])
    }
    assert rows(found.images) == [
        (image_id(png(4)), "label_book/dog/d.png", "label_book", "dog"),
        (image_id(png(3)), "test/dog/c.png", "test", "dog"),
        (image_id(png(1)), "train/cat/a.png", "train", "cat"),
        (image_id(png(0)), "train/dog/b.png", "train", "dog"),
        (image_id(png(2)), "val/cat/a.png", "val", "cat"),
    ]
    assert found.classes == ("cat", "dog")
    assert rows(found.unreadable) == []


def test_other_names_of_splits_are_known(tmp_path):
    names = ("Train/a/1.png", "VALID/b/2.png", "validation/a/3.png", "valid/a/3.png")
    folder = write_images(tmp_path / "source", *names, "Train/b/1.png")
    found = collect(folder, params(), tmp_path / "raw")
    assert list(found.images["path"]) == [
        "train/a/1.png",
        "train/b/1.png",
        "val/a/3-2.png",
        "val/a/3.png",
        "val/b/2.png",
    ]


def test_classes_may_have_the_names_of_splits(tmp_path):
    names = [f"{label}/{number}.png" for label in ("valid", "invalid") for number in range(2)]
    found = collect(write_images(tmp_path / "source", *names), params(), tmp_path / "raw")
    assert found.classes == ("invalid", "valid")


@pytest.mark.parametrize("top", ["", "photos/"])
@pytest.mark.parametrize("name", ["train", "val", "Test"])
def test_one_folder_without_folders_in_it_is_a_class_whatever_its_name(tmp_path, name, top):
    names = [f"{top}{label}/{n}.png" for label in ("bus", "car", name) for n in range(2)]
    folder = write_images(tmp_path / "source", *names)
    write_file(folder / top / name / "boxes/0.txt", b"notes")
    found = collect(folder, params(), tmp_path / "raw")
    assert set(found.classes) == {"bus", "car", name}
    assert found.images["split"].value_counts().to_dict() == {"train": 3, "val": 3}


LONE = ("bus/1.png", "bus/2.png", "train/steam/1.png", "train/steam/2.png", "train/diesel/3.png")
FLAT = ("train/1.png", "train/2.png", "val/1.png", "val/2.png")


@pytest.mark.parametrize(
    ("names", "classes", "told"),
    [
        (LONE, (), "holds no readable val image, only train; put .*: train"),
        (LONE[:-1], (), "has only the class 'steam'; .*: train"),
        (LONE, ("bus",), "'steam' is not in data.classes: .*: train"),
        (FLAT, (), "holds no readable image in a class folder; .*: train, val"),
        (
            ("bus/1.png", *FLAT),
            (),
            "holds no readable image in a class folder; .*: train, val",
        ),
    ],
)
def test_what_was_taken_for_a_split_is_told_and_classes_are_what_is_declared(
    tmp_path, names, classes, told
):
    folder = write_images(tmp_path / "source", *names)
    end = "If these are classes, name all classes in data.classes$"
    match = f"(?s)^photos .*{told}\\. {end}"
    refused(folder, tmp_path / "refused", match, params(classes))
    folders = tuple({name.split("/")[0] for name in names})
    found = collect(folder, params(folders, val_fraction=0.5), tmp_path / "raw")
    assert found.classes == folders
    assert set(found.images["label"]) == set(folders)
    assert len(found.images) == len(names)


def test_no_split_is_told_where_none_was_taken_for_one(tmp_path):
    folder = write_images(tmp_path / "source", "a/1.png", "b/2.png")
    with pytest.raises(SourceError) as caught:
        collect(folder, params(), tmp_path / "raw")
    assert "Taken for splits" not in str(caught.value)


def test_splits_are_told_by_files_that_may_be_images(tmp_path):
    names = ("train/a/1", "train/b/2", "val/a/3", "val/b/4")
    folder = write_images(tmp_path / "source", *names, "loose.png")
    write_file(folder / "test/a/notes.txt", b"notes")
    found = collect(folder, params(), tmp_path / "raw")
    assert list(found.images["path"]) == [f"{name}.png" for name in names]
    reasons = dict(zip(found.unreadable["path"], found.unreadable["reason"], strict=True))
    assert reasons["test/a/notes.txt"].startswith("not an image")


def test_subfolders_of_a_class_become_part_of_the_name(tmp_path):
    names = ["train/a/x/y.png", "train/a/x__y.png", "train/b/X.PNG", "train/b/x.png", "val/a/1.png"]
    folder = write_images(tmp_path / "source", *names)
    collect(folder, params(), tmp_path / "raw")
    assert tree(tmp_path / "raw") == {
        "train/a/x__y.png": png(0),
        "train/a/x__y-2.png": png(1),
        "train/b/X.PNG": png(2),
        "train/b/x-2.png": png(3),
        "val/a/1.png": png(4),
    }


def test_names_become_safe(tmp_path):
    folder = write_images(
        tmp_path / "source", 'train/a/q?:\\"\n.png', "train/a/scan.part", "train/b/scan", "val/a/1"
    )
    write_file(folder / "train/b" / ("é" * 110 + ".png"), png(9))
    write_file(Path(os.fsdecode(os.fsencode(folder) + b"/train/b/\xff.png")), png(10))
    collect(folder, params(), tmp_path / "raw")
    assert tree(tmp_path / "raw") == {
        "train/a/q_____.png": png(0),
        "train/a/scan.part.png": png(1),
        "train/b/scan.png": png(2),
        "val/a/1.png": png(3),
        f"train/b/{'é' * 100}-{image_id(('é' * 110 + '.png').encode())}.png": png(9),
        "train/b/_.png": png(10),
    }


def test_what_is_no_image_is_listed_with_size_and_reason(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_module, "MAX_FILE_BYTES", 1000)
    folder = write_images(tmp_path / "source", *SPLITS, "loose.png", "train/loose.png", "x/a/1.png")
    write_file(folder / "train/cat/empty.png", b"")
    write_file(folder / "train/cat/notes.txt", b"notes")
    write_file(folder / "train/cat/large.png", bytes(1001))
    write_file(folder / "train/cat/cut.png", png(0)[:45])
    (folder / "train/cat/gone.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "train/cat/pipe.png")
    found = collect(folder, params(), tmp_path / "raw")
    outside = "outside of any class folder: <split>/<class>/ or, without splits, <class>/"
    table = {str(path): (n_bytes, reason) for path, n_bytes, reason in rows(found.unreadable)}
    cut = table.pop("train/cat/cut.png")
    assert cut[0] == 45
    assert cut[1].startswith("not a readable image (")
    assert table == {
        "loose.png": (len(png(4)), outside),
        "train/cat/empty.png": (0, "the file is empty"),
        "train/cat/gone.png": (0, "can't be read: No such file or directory"),
        "train/cat/large.png": (1001, "larger than 1,000 bytes"),
        "train/cat/notes.txt": (
            5,
            "not an image: allowed are PNG, JPEG, BMP, GIF, TIFF, WEBP, PPM",
        ),
        "train/cat/pipe.png": (0, "not a regular file"),
        "train/loose.png": (len(png(5)), outside),
        "x/a/1.png": (len(png(6)), outside),
    }
    assert list(found.unreadable["path"]) == sorted(found.unreadable["path"])
    assert set(tree(tmp_path / "raw")) == set(SPLITS)


def test_no_path_that_is_listed_is_a_formula(tmp_path):
    folder = write_images(tmp_path / "source", *SPLITS)
    names = ("=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "a=1", " =1", "-x/=1")
    for name in names:
        write_file(folder / name, name.encode())
    paths = list(collect(folder, params(), tmp_path / "raw").unreadable["path"])
    assert paths == sorted([*(f"./{name}" for name in (*names[:7], "-x/=1")), "a=1", " =1"])
    assert {(folder / path).read_bytes() for path in paths} == {name.encode() for name in names}


def test_the_digest_counts_every_file_whether_it_is_copied_or_not(tmp_path, monkeypatch):
    monkeypatch.setattr(raw_module, "MAX_FILE_BYTES", 1000)
    folder = write_images(tmp_path / "source", *SPLITS, "loose.png")
    write_file(folder / "train/cat/empty.png", b"")
    write_file(folder / "train/cat/notes.txt", b"notes")
    write_file(folder / "train/cat/large.png", bytes(1001))
    write_file(Path(os.fsdecode(os.fsencode(folder) + b"/train/cat/\xff.png")), png(10))
    (folder / "train/cat/gone.png").symlink_to(tmp_path / "nowhere")
    (folder / "train/cat/loop").symlink_to(folder)
    os.mkfifo(folder / "train/cat/pipe.png")
    digest = source_digest("source", tmp_path)
    found = collect(folder, params(), tmp_path / "raw", digest)
    assert len(found.images) == len(SPLITS) + 1
    assert len(found.unreadable) == 7
    names = (SPLITS[0], "loose.png", *(f"train/cat/{end}" for end in ("notes.txt", "large.png")))
    for number, name in enumerate(names):
        content = (folder / name).read_bytes()
        write_file(folder / name, content + b"x")
        got = source_digest("source", tmp_path)
        with pytest.raises(SourceError, match=f"^photos has the SHA-256 {got}, but data.sha256 is"):
            collect(folder, params(), tmp_path / f"raw-{number}", digest)
        write_file(folder / name, content)
    collect(folder, params(), tmp_path / "again", digest)


def test_the_digest_is_that_of_the_bytes_that_are_copied(tmp_path, monkeypatch):
    folder = write_images(tmp_path / "source", *SPLITS)
    digest = source_digest("source", tmp_path)
    read_bytes = Path.read_bytes

    def altered(path: Path) -> bytes:
        # Altered just before it is read, and put right before anybody could look again.
        return png(9) if path == folder / SPLITS[2] else read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", altered)
    assert source_digest("source", tmp_path) == digest
    with pytest.raises(SourceError, match="photos has the SHA-256"):
        collect(folder, params(), tmp_path / "raw", digest)


def test_a_file_that_can_not_be_read_is_listed_or_refused_where_a_digest_is_due(
    tmp_path, monkeypatch
):
    folder = write_images(tmp_path / "source", *SPLITS)
    digest = source_digest("source", tmp_path)
    locked = folder / SPLITS[0]
    opened = Path.open

    def no_right(path: Path, *arguments: Any, **named: Any) -> Any:
        if path == locked:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", no_right)
    found = collect(write_images(folder, "train/dog/other.png"), params(), tmp_path / "raw")
    assert rows(found.unreadable) == [(SPLITS[0], 0, "can't be read: Permission denied")]
    with pytest.raises(SourceError, match=r"b.png can't be read \(Permission denied\); give your"):
        collect(folder, params(), tmp_path / "other", digest)


def test_a_folder_of_classes_is_split_by_class_and_seed(tmp_path):
    names = [
        f"photos/{label}/{n}.png" for label, count in (("a", 20), ("b", 2)) for n in range(count)
    ]
    folder = write_images(tmp_path / "source", *names, "photos/c/1.png", "readme.txt")
    found = collect(folder, params(val_fraction=0.25), tmp_path / "raw")
    counts = found.images.groupby(["label", "split"]).size().to_dict()
    assert counts == {
        ("a", "train"): 15,
        ("a", "val"): 5,
        ("b", "train"): 1,
        ("b", "val"): 1,
        ("c", "train"): 1,
    }
    again = collect(folder, params(val_fraction=0.25), tmp_path / "again")
    assert tree(tmp_path / "again") == tree(tmp_path / "raw")
    pd.testing.assert_frame_equal(again.images, found.images)
    collect(folder, params(val_fraction=0.25, seed=1), tmp_path / "other")
    assert tree(tmp_path / "other") != tree(tmp_path / "raw")


@pytest.mark.parametrize("top", ["", "photos/"])
def test_without_val_a_share_of_train_is_drawn_as_of_a_folder_of_classes(tmp_path, top):
    names = [f"{label}/{n}.png" for label in ("a", "b") for n in range(10)]
    write_images(tmp_path / "classes", *names)
    folder = write_images(tmp_path / "source", *(f"{top}train/{name}" for name in names))
    for number, name in enumerate(("test/a/x.png", "label_book/b/x.png")):
        write_file(folder / top / name, png(100 + number))
    write_file(folder / top / "val/readme.txt", b"to be done")
    found = collect(folder, params(), tmp_path / "raw")
    drawn = collect(tmp_path / "classes", params(), tmp_path / "drawn")
    assert (found.is_val_drawn, drawn.is_val_drawn) == (True, True)
    assert found.images["split"].value_counts().to_dict() == {
        **{"train": 16, "val": 4},
        **{"test": 1, "label_book": 1},
    }
    heldout = {"test/a/x.png": png(100), "label_book/b/x.png": png(101)}
    assert tree(tmp_path / "raw") == tree(tmp_path / "drawn") | heldout


def test_a_val_that_is_given_is_not_drawn(tmp_path):
    folder = write_images(tmp_path / "source", *SPLITS)
    assert not collect(folder, params(), tmp_path / "raw").is_val_drawn


@pytest.mark.parametrize("name", ["val/1.png", "valid/a/none.png", "val/a/notes.txt", "c/1.png"])
def test_none_is_drawn_of_train_where_val_came_to_nothing_or_classes_may_lie_beside(tmp_path, name):
    names = [f"train/{label}/{n}.png" for label in ("a", "b") for n in range(10)]
    folder = write_images(tmp_path / "source", *names)
    write_file(folder / name, b"no image")
    match = (
        r"^photos holds no readable val image, only train; put some into val/<class>/, or take val "
        r"and folders of other names out, and data\.val_fraction of train is taken"
    )
    refused(folder, tmp_path, match)
    (folder / name).unlink()
    assert collect(folder, params(), tmp_path / "again").is_val_drawn


def test_a_class_that_train_lacks_is_refused_if_it_is_not_declared(tmp_path):
    names = ("test/cats/3.png", "test/dogs/4.png", "valid/eel/5.png", "label_book/fox/6.png")
    folder = write_images(tmp_path / "source", *SPLITS, "label_book/cat/2.png", *names)
    write_file(folder / "train/eel/1.png", b"no image")
    message = (
        "photos has classes that train (cat, dog) lacks, so that no model would learn them:\n"
        "  - in val: eel\n"
        "  - in test: cats, dogs\n"
        "  - in label_book: fox\n"
        "Rename their folders, take them out, or name all classes in data.classes"
    )
    refused(folder, tmp_path, f"^{re.escape(message)}$")
    classes = ("cat", "dog", "cats", "dogs", "eel", "fox")
    found = collect(folder, params(classes), tmp_path / "declared")
    assert found.classes == classes
    assert set(found.images["label"]) == set(classes)


def test_of_many_classes_that_train_lacks_the_first_are_told(tmp_path):
    names = [f"test/c{number:02d}/1.png" for number in range(23)]
    folder = write_images(tmp_path / "source", *SPLITS, *names)
    shown = ", ".join(f"c{number:02d}" for number in range(20))
    refused(folder, tmp_path, f"in test: {shown} and 3 more\nRename")


def test_folders_without_images_say_nothing_about_the_layout(tmp_path):
    folder = write_images(tmp_path / "source", "images/cat/1.png", "images/cat/2.png")
    write_images(folder, "images/dog/3.png", "images/dog/4.png")
    write_file(folder / "docs/readme.txt", b"notes")
    found = collect(folder, params(), tmp_path / "raw")
    assert found.classes == ("cat", "dog")
    assert list(found.unreadable["path"]) == ["docs/readme.txt"]


def test_a_class_of_pictures_that_can_not_be_read_is_no_folder_of_notes(tmp_path):
    folder = write_images(tmp_path / "source", "cat/in/1.png", "cat/out/2.png")
    write_file(folder / "dog/1.HEIC", b"a picture")
    refused(folder, tmp_path, "photos has only the class 'cat'; a classifier needs at least two")


@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_folders_without_images_are_no_classes(tmp_path, classes):
    names = [f"{label}/{n}.png" for label in ("cat", "dog") for n in range(2)]
    folder = write_images(tmp_path / "source", *names)
    for name in ("docs/readme.txt", "Notes /todo.md", "CAT/LICENSE"):
        write_file(folder / name, b"notes")
    found = collect(folder, params(classes), tmp_path / "raw")
    assert found.classes == ("cat", "dog")
    paths = ["CAT/LICENSE", "Notes /todo.md", "docs/readme.txt"]
    assert list(found.unreadable["path"]) == paths


@pytest.mark.parametrize("name", ["eel/1", "eel/1.dat"])
def test_a_folder_of_images_is_a_class_whatever_their_names_end_in(tmp_path, name):
    folder = write_images(tmp_path / "source", *SPLITS, f"train/{name}")
    match = r"'eel' is not in data\.classes: rename it, remove it or add it there$"
    refused(folder, tmp_path, match, params(("cat", "dog")))
    assert list((tmp_path / "raw").iterdir()) == [tmp_path / "raw/arriving"]


def test_copies_of_an_image_fall_into_one_split(tmp_path):
    for label in ("a", "b"):
        for number in range(20):
            write_file(tmp_path / f"source/{label}/{number}.png", png(number // 2))
    found = collect(tmp_path / "source", params(val_fraction=0.5), tmp_path / "raw")
    splits = found.images.groupby(["image_id", "label"])["split"].nunique()
    assert len(splits) == 20
    assert set(splits) == {1}
    assert found.images["split"].value_counts().to_dict() == {"train": 20, "val": 20}


def test_classes_are_in_the_declared_order_even_without_images(tmp_path):
    folder = write_images(tmp_path / "source", *SPLITS)
    found = collect(folder, params(("dog", "cat", "eel")), tmp_path / "raw")
    assert found.classes == ("dog", "cat", "eel")


def test_classes_that_are_not_declared_are_all_listed(tmp_path):
    folder = write_images(tmp_path / "source", *SPLITS, "val/eel/1.png")
    match = r"(?s)data.classes: cat, ant\):.*'dog' is not in data.classes.*'eel' is not in"
    refused(folder, tmp_path, match, params(("cat", "ant")))
    assert not (tmp_path / "raw").exists()


def test_class_folders_that_can_not_be_written_are_refused(tmp_path):
    folder = write_images(tmp_path / "source", *SPLITS, "train/a\nb/1.png", "train/c.part/1.png")
    match = (
        r"(?s)'a\\nb' holds control characters or is not UTF-8; rename it\n"
        r".*'c.part' ends in .part, as unfinished files do; rename it$"
    )
    refused(folder, tmp_path, match)


def test_class_folders_that_tables_do_not_keep_are_refused(tmp_path):
    folder = write_images(tmp_path / "source", *SPLITS, "train/\u3000/1.png", "val/ cat/2.png")
    match = r"(?s)' cat' begins or ends with a blank.*'\\u3000' is blank; rename it"
    refused(folder, tmp_path, match)


def test_folders_whose_names_look_alike_are_one_class(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    names = (f"train/{composed}/1.png", f"train/{apart}/1.png", f"val/{apart}/1.png")
    folder = write_images(tmp_path / "source", *names, "train/b/1.png")
    found = collect(folder, params(("b", composed)), tmp_path / "raw")
    assert found.classes == ("b", composed)
    assert tree(tmp_path / "raw") == {
        f"train/{composed}/1-2.png": png(0),
        f"train/{composed}/1.png": png(1),
        f"val/{composed}/1.png": png(2),
        "train/b/1.png": png(3),
    }


def test_folders_that_differ_only_in_case_or_by_invisible_characters_are_refused(tmp_path):
    names = ("train/Cat/1.png", "train/cat/1.png", "val/c\u200bat/1.png", "val/dog/1.png")
    folder = write_images(tmp_path / "source", *names)
    message = (
        "photos has class folders that can't be taken (data.classes: any):\n"
        "  - 'Cat' and 'cat' and 'c\\u200bat' differ only in case or by invisible characters: "
        "rename one, or name them all in data.classes"
    )
    refused(folder, tmp_path, f"^{re.escape(message)}$")
    assert not (tmp_path / "raw").exists()
    found = collect(folder, params(("cat", "Cat", "c\u200bat", "dog")), tmp_path / "raw")
    assert found.classes == ("cat", "Cat", "c\u200bat", "dog")
    assert set(found.images["label"]) == {"cat", "Cat", "c\u200bat", "dog"}


def test_exactly_the_ten_numerals_are_in_numeric_order():
    assert order_classes(sorted(NUMERALS), ()) == NUMERALS
    assert order_classes(["v", "ix", "i"], ()) == ("i", "ix", "v")
    assert order_classes([*NUMERALS, "xi"], ()) == tuple(sorted([*NUMERALS, "xi"]))
    assert order_classes(["x"], ("x", "i")) == ("x", "i")


def test_nothing_readable_is_an_error_that_shows_what_is_there(tmp_path):
    (tmp_path / "source").mkdir()
    refused(tmp_path / "source", tmp_path, r"photos holds no readable image .* 0 other file")


def test_unreadable_files_alone_are_an_error(tmp_path):
    write_file(tmp_path / "source/train/a/1.png", b"")
    write_file(tmp_path / "source/2.png", png(2))
    match = r"(?s)no readable image .*; 2 other.*2.png: outside.*train/a/1.png: the file is empty"
    refused(tmp_path / "source", tmp_path, match)


def test_names_in_messages_are_no_commands_to_the_terminal(tmp_path):
    write_file(tmp_path / "one/\x1b[2J\n.png", b"")
    refused(tmp_path / "one", tmp_path, r"are there:\n  - \\x1b\[2J\\n.png: outside of any class")
    folder = write_images(tmp_path / "two", "\x9bx/train/a/1.png", "b/val/a/2.png")
    refused(folder, tmp_path, r"several folders \(b/val, \\x9bx/train\); name the one")
    names = [f"{split}/{label}/1.png" for split in ("A\x07", "B") for label in ("a", "b\u202e")]
    folder = write_images(tmp_path / "three", *names)
    refused(folder, tmp_path, r"holds A\\x07, B, and in each of them a, b\\u202e: are")


def test_one_class_is_an_error(tmp_path):
    folder = write_images(tmp_path / "source", "train/a/1.png", "val/a/2.png")
    refused(folder, tmp_path, "has only the class 'a'; a classifier needs at least two folders")


def test_a_split_without_images_is_an_error(tmp_path):
    folder = write_images(tmp_path / "source", "train/a/1.png", "train/b/2.png", "test/a/3.png")
    refused(folder, tmp_path, "no readable val image, only test, train; .*data.val_fraction")


def test_no_training_image_is_an_error(tmp_path):
    folder = write_images(tmp_path / "source", "val/a/1.png", "val/b/2.png")
    refused(folder, tmp_path, "no readable train image, only val; put some into train/<class>/")


def test_classes_of_one_image_leave_nothing_to_validate_with(tmp_path):
    folder = write_images(tmp_path / "source", "a/1.png", "b/2.png")
    refused(folder, tmp_path, "no readable val image, only train; .*each class of two or more")


NAMED = tuple(f"{split}/{n}/1.png" for split in ("Training", "Testing") for n in ("cat", "dog"))


def test_several_datasets_in_one_source_are_not_taken_for_classes(tmp_path):
    folder = write_images(tmp_path / "source", "v1/train/a/1.png", "v2/val/a/2.png")
    refused(folder, tmp_path, r"splits below several folders \(v1/train, v2/val\); name the one")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ("Training/cat/1.png", "Training/dog/2.png", "Testing/cat/3.png", "Testing/dog/4.png"),
            "Testing, Training, and in each of them cat, dog",
        ),
        (
            (
                *("training_set/training_set/cats/1.png", "training_set/training_set/dogs/2.png"),
                *("test_set/test_set/cats/3.png", "test_set/test_set/dogs/a/4.png", "read.me"),
            ),
            "test_set, training_set, and in each of them cats, dogs",
        ),
        (
            ("x/seg_train/a/1.png", "x/seg_train/b/2.png", "x/test/a/3.png", "x/test/b/4.png"),
            "seg_train, test, and in each of them a, b",
        ),
        (
            (*NAMED, "Training/labels.csv", "Testing/README", "docs/a/notes.txt"),
            "Testing, Training, and in each of them cat, dog",
        ),
        ((*NAMED, "Training/eel/1.png"), "Testing, Training, and in each of them cat, dog"),
        ((*NAMED, "Training/1.png"), "Testing, Training, and in each of them cat, dog"),
        (
            ("A/cat/1.png", "A/dog/2.png", "A/labels.csv", "B/cat/3.png", "B/dog/4.png"),
            "A, B, and in each of them cat, dog",
        ),
        (
            (
                *("x_EVAL/cat/1.png", "x_EVAL/dog/2.png", "x_EVAL/eel/3.png"),
                *("validation_set/dog/4.png", "validation_set/cat/5.png", "my test/dog/6.png"),
                *("my test/cat/7.png", "my test/fox/8.png"),
            ),
            "my test, validation_set, x_EVAL, and in each of them cat, dog",
        ),
    ],
)
def test_splits_of_unknown_names_are_not_taken_for_classes(tmp_path, names, told):
    folder = write_images(tmp_path / "source", *names)
    message = (
        f"photos holds {told}: are these splits? Name them train, val and test; if they are "
        "classes, name them in data.classes"
    )
    refused(folder, tmp_path, f"^{re.escape(message)}$")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("name", ["test", "Label_Book", "my_testset"])
def test_a_split_beside_classes_is_not_taken_for_one(tmp_path, name):
    names = ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png", f"{name}/cat/5.png")
    folder = write_images(tmp_path / "source", *names)
    message = (
        f"photos holds {name}, and in it cat, which lie beside it, too: if it is a split, put the "
        "others into a folder train; if it is a class, name all classes in data.classes"
    )
    refused(folder, tmp_path, f"^{message}$")
    found = collect(folder, params(("cat", "dog", name), val_fraction=0.5), tmp_path / "raw")
    assert (found.images["label"] == name).sum() == 1


def test_a_split_of_another_name_is_not_left_out(tmp_path):
    names = [f"{split}/{n}/1.png" for split in ("train", "valid") for n in ("cat", "dog")]
    folder = write_images(tmp_path / "source", *names, "Testing/cat/2.png", "Testing/eel/3.png")
    message = (
        "photos holds Testing, and in it cat, which lie in train, valid, too: name it train, val, "
        "test or label_book, or take it out of the source"
    )
    refused(folder, tmp_path, f"^{message}$")
    (folder / "Testing").rename(folder / "notes")
    found = collect(folder, params(), tmp_path / "raw")
    assert sorted(found.unreadable["path"]) == ["notes/cat/2.png", "notes/eel/3.png"]


SAME = tuple(f"{label}/{place}/1.png" for label in ("cat", "dog") for place in ("in", "out"))


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (SAME, ("cat", "dog", "eel")),
        ((*SAME, "dog/yard/1.png"), ()),
        ((*SAME, "dog/1.png"), ()),
        (("cat/in/1.png", "cat/in/2.png", "dog/in/1.png", "dog/in/2.png"), ()),
        ((*NAMED, "Training/eel/1.png"), ("Training", "Testing")),
        (("valve/in/1.png", "valve/out/2.png", "interval/in/1.png", "interval/up/1.png"), ()),
        ((*SAME, "valve/in/1.png", "valve/out/2.png", "valve/up/2.png"), ()),
    ],
)
def test_classes_may_have_subfolders_of_the_same_names(tmp_path, names, classes):
    folder = write_images(tmp_path / "source", *names)
    found = collect(folder, params(classes), tmp_path / "raw")
    assert set(found.images["label"]) == {name.split("/")[0] for name in names}
    assert len(found.images) == len(names)
