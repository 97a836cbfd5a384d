"""Datasets: the rule of size, duplicates, splits, and the files of a snapshot."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handmade_tables import manifest, raw

from databoost.data.datasets import (
    choose_validation,
    label_positions,
    padded_size,
    read_classes,
    read_manifest,
    resolve_duplicates,
    room_left,
    sort_manifest,
    write_dataset,
)
from databoost.data.tablefiles import write_table
from databoost.data.tables import CLASSES, DUPLICATES, MANIFEST, RAW_INDEX
from databoost.errors import DatasetError, TableError


def told(duplicates: pd.DataFrame) -> list[str]:
    assert list(duplicates.columns) == list(DUPLICATES.columns)
    return [f"{row.image_id} {row.path}: {row.outcome}" for row in duplicates.itertuples()]


def labelled(**n_images: int) -> pd.DataFrame:
    """Give so many images of each label, numbered on."""
    labels = [label for label, n in n_images.items() for _ in range(n)]
    ids = [f"{number:016x}" for number in range(len(labels))]
    return pd.DataFrame({"image_id": ids, "label": labels}, index=range(7, 7 + len(labels)))


def test_classes_keep_their_order(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    write_table(path, CLASSES.frame({"label": ["x", "i", "v"]}), CLASSES)
    assert read_classes(path) == ["x", "i", "v"]
    with pytest.raises(TableError, match="does not exist"):
        read_classes(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("n_train", "n_val", "batch_size", "size"),
    [
        (0, 0, 8, 0),
        (1, 0, 8, 8),
        (1, 1, 8, 16),
        (9544, 456, 8, 10_000),
        (9545, 456, 8, 10_008),
        (9536, 457, 8, 10_000),
        (9999, 1, 1, 10_000),
    ],
)
def test_size_is_counted_in_padded_batches(
    n_train: int, n_val: int, batch_size: int, size: int
) -> None:
    assert padded_size(n_train, n_val, batch_size) == size


@pytest.mark.parametrize(
    ("n_train", "n_val", "room"),
    [
        (9543, 456, 1),  # 9,999 images
        (9544, 456, 0),  # 10,000
        (9545, 456, 0),  # 10,001
        (9535, 457, 1),  # validation fills 464 places
        (9536, 457, 0),
        (0, 456, 9544),
        (0, 20_000, 0),
    ],
)
def test_room_under_the_limit(n_train: int, n_val: int, room: int) -> None:
    assert room_left(n_train, n_val, 8, 10_000) == room


def test_room_is_exactly_what_the_size_allows() -> None:
    for limit in (95, 96, 97, 100, 104):
        for n_val in range(1, 20):
            for n_train in range(60, 110):
                room = room_left(n_train, n_val, 8, limit)
                assert room is not None
                fits = padded_size(n_train, n_val, 8) <= limit
                assert fits or room == 0
                if room:
                    assert padded_size(n_train + room, n_val, 8) <= limit
                if fits:
                    assert padded_size(n_train + room + 1, n_val, 8) > limit


def test_no_limit_is_no_number() -> None:
    assert room_left(10**9, 1, 8, 0) is None


def test_images_without_copies_stay() -> None:
    images = raw("a train/i/1.png", "b val/i/2.png", "c test/i/3.png")
    resolved = resolve_duplicates(images)
    pd.testing.assert_frame_equal(resolved.images, images)
    assert told(resolved.duplicates) == []


def test_no_images_have_no_duplicates() -> None:
    resolved = resolve_duplicates(RAW_INDEX.empty())
    assert len(resolved.images) == 0
    assert told(resolved.duplicates) == []


def test_within_a_split_the_first_by_path_stays() -> None:
    images = raw("a train/i/3.png", "b train/i/4.png", "a train/i/1.png", "a train/i/2.png")
    resolved = resolve_duplicates(images)
    assert list(resolved.images["path"]) == ["train/i/4.png", "train/i/1.png"]
    assert told(resolved.duplicates) == [
        "a train/i/1.png: kept",
        "a train/i/2.png: dropped",
        "a train/i/3.png: dropped",
    ]


def test_across_train_and_val_the_validation_copy_stays() -> None:
    resolved = resolve_duplicates(raw("a train/i/1.png", "a val/i/9.png", "a val/i/8.png"))
    assert list(resolved.images["path"]) == ["val/i/8.png"]
    assert told(resolved.duplicates) == [
        "a train/i/1.png: dropped",
        "a val/i/8.png: kept",
        "a val/i/9.png: dropped",
    ]


def test_a_file_under_two_labels_goes_out_altogether() -> None:
    resolved = resolve_duplicates(
        raw("a train/i/1.png", "a val/ii/2.png", "a train/i/3.png", "b train/i/4.png")
    )
    assert list(resolved.images["path"]) == ["train/i/4.png"]
    assert told(resolved.duplicates) == [
        "a train/i/1.png: dropped: two labels",
        "a train/i/3.png: dropped: two labels",
        "a val/ii/2.png: dropped: two labels",
    ]


def test_what_is_in_test_too_is_not_trained_on_and_what_is_in_the_label_book_stays() -> None:
    resolved = resolve_duplicates(
        raw(
            "a train/i/1.png",
            "a test/i/2.png",
            "a test/i/3.png",
            "b val/i/4.png",
            "b label_book/ii/5.png",
            "c val/i/6.png",
            "c val/i/7.png",
            "c train/i/8.png",
            "c test/v/9.png",
        )
    )
    assert list(resolved.images["path"]) == [
        "test/i/2.png",
        "val/i/4.png",
        "label_book/ii/5.png",
        "test/v/9.png",
    ]
    assert told(resolved.duplicates) == [
        "a test/i/2.png: kept",
        "a test/i/3.png: dropped",
        "a train/i/1.png: dropped: also in test",
        "b val/i/4.png: kept: also in label_book",
        "c train/i/8.png: dropped",
        "c val/i/6.png: dropped: also in test",
        "c val/i/7.png: dropped",
    ]


def test_what_left_test_for_having_two_labels_is_no_leak() -> None:
    resolved = resolve_duplicates(raw("a train/i/1.png", "a test/i/2.png", "a test/v/3.png"))
    assert list(resolved.images["path"]) == ["train/i/1.png"]
    assert told(resolved.duplicates) == [
        "a test/i/2.png: dropped: two labels",
        "a test/v/3.png: dropped: two labels",
    ]


def test_a_held_out_file_under_two_labels_goes_out_altogether() -> None:
    resolved = resolve_duplicates(
        raw("a test/i/1.png", "a test/v/2.png", "a label_book/i/3.png", "b test/v/4.png")
    )
    assert list(resolved.images["path"]) == ["label_book/i/3.png", "test/v/4.png"]
    assert told(resolved.duplicates) == [
        "a test/i/1.png: dropped: two labels",
        "a test/v/2.png: dropped: two labels",
    ]


@pytest.mark.parametrize(
    "rows", [("test/i/1.png", "label_book/i/2.png"), ("label_book/i/2.png", "test/i/1.png")]
)
def test_of_two_held_out_splits_the_test_is_named(rows: tuple[str, str]) -> None:
    resolved = resolve_duplicates(raw(*(f"a {row}" for row in rows), "a train/i/3.png"))
    assert told(resolved.duplicates) == ["a train/i/3.png: dropped: also in test"]


def test_duplicates_do_not_depend_on_the_order_of_the_rows() -> None:
    rows = ["a train/i/1.png", "a val/i/2.png", "b train/i/3.png", "b train/ii/4.png"]
    rows += ["c train/i/5.png", "c train/i/6.png", "d train/v/7.png", "d test/v/8.png"]
    expected = resolve_duplicates(raw(*rows))
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(rows))
        resolved = resolve_duplicates(raw(*(rows[position] for position in order)))
        assert set(resolved.images["path"]) == set(expected.images["path"])
        assert told(resolved.duplicates) == told(expected.duplicates)


@pytest.mark.parametrize(
    ("n", "val_fraction", "n_val"),
    [(1, 0.5, 0), (2, 0.01, 1), (2, 0.99, 1), (10, 0.2, 2), (10, 0.99, 9), (100, 0.333, 33)],
)
def test_validation_share_of_a_class(n: int, val_fraction: float, n_val: int) -> None:
    assert choose_validation(labelled(i=n), val_fraction, seed=0).sum() == n_val


def test_validation_is_drawn_by_class_and_seed() -> None:
    images = labelled(i=40, ii=20)
    chosen = choose_validation(images, 0.25, seed=3)
    assert chosen.dtype == bool
    assert chosen.index.equals(images.index)
    assert chosen.groupby(images["label"]).sum().to_dict() == {"i": 10, "ii": 5}
    shuffled = images.sample(frac=1, random_state=0)
    assert chosen.equals(choose_validation(shuffled, 0.25, seed=3).sort_index())
    assert not chosen.equals(choose_validation(images, 0.25, seed=4))
    assert chosen[:40].to_list() != sorted(chosen[:40])
    nothing = choose_validation(images[:0], 0.25, seed=3)
    assert (len(nothing), nothing.dtype) == (0, bool)


def test_validation_is_the_first_by_the_digest_of_seed_and_id() -> None:
    images = labelled(i=5)
    digests = [hashlib.sha256(f"3 {image_id}".encode()).hexdigest() for image_id in "abcde"]
    first_two = sorted(digests)[:2]
    chosen = choose_validation(images.assign(image_id=list("abcde")), 0.4, seed=3)
    assert chosen.to_list() == [digest in first_two for digest in digests]
    assert chosen.to_list() == [True, False, False, True, False]


def test_an_image_more_or_less_moves_at_most_one_other() -> None:
    images = labelled(i=30, ii=30)
    before = choose_validation(images, 0.2, seed=0)
    for left_out in images.index[:30]:
        after = choose_validation(images.drop(left_out), 0.2, seed=0)
        moved = before.drop(left_out) != after
        assert moved[:29].sum() <= 1
        assert not moved[29:].any()


def test_copies_of_an_image_count_once_and_fall_on_one_side_of_validation() -> None:
    images = labelled(i=10, ii=10)
    alone = choose_validation(images, 0.2, seed=0)
    twice = pd.concat([images, images[:10]], ignore_index=True)
    chosen = choose_validation(twice, 0.2, seed=0)
    assert chosen.to_list() == [*alone, *alone[:10]]


def test_a_dataset_holds_the_files_of_its_manifest_alone(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    write_dataset(manifest("train/i/old.png"), folder, lambda image_id: b"old")
    snapshot = manifest("train/i/a.png", "train/ii/b.png", "val/i/c.png")
    write_dataset(snapshot, folder, lambda image_id: image_id.encode())
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.png")}
    assert sorted(files) == list(snapshot["path"])
    assert files["train/ii/b.png"].read_bytes() == b"0000000000000001"


def test_a_dataset_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    write_dataset(manifest("train/i/old.png"), folder, lambda image_id: b"old")

    def content(image_id: str) -> bytes:
        if image_id.endswith("1"):
            raise OSError("disk is full")
        return b"new"

    with pytest.raises(OSError, match="disk is full"):
        write_dataset(manifest("train/i/a.png", "train/i/b.png"), folder, content)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["old.png"]
    assert [path.name for path in tmp_path.iterdir()] == ["dataset"]


def test_manifests_are_sorted_by_split_and_path() -> None:
    paths = ["test/i/a.png", "label_book/i/a.png", "val/i/a.png", "train/ii/a.png", "train/i/b.png"]
    ordered = sort_manifest(manifest(*paths))
    assert list(ordered["path"]) == [
        "train/i/b.png",
        "train/ii/a.png",
        "val/i/a.png",
        "test/i/a.png",
        "label_book/i/a.png",
    ]
    assert list(ordered.index) == [0, 1, 2, 3, 4]
    assert list(ordered.columns) == list(MANIFEST.columns)
    pd.testing.assert_frame_equal(
        sort_manifest(manifest(*paths[::-1]))[["path"]], ordered[["path"]]
    )


def test_a_manifest_is_read_with_a_look_at_its_files(tmp_path: Path) -> None:
    snapshot = manifest("train/i/a.png", "train/i/b.png", "val/i/c.png")
    path, folder = tmp_path / "manifest.csv", tmp_path / "dataset"
    with pytest.raises(TableError, match="does not exist"):
        read_manifest(path, folder)
    write_table(path, snapshot, MANIFEST)
    write_dataset(snapshot, folder, lambda image_id: b"")
    pd.testing.assert_frame_equal(read_manifest(path, folder), snapshot)
    for name in ("train/i/b.png", "val/i/c.png"):
        (folder / name).unlink()
    message = (
        r"dataset lacks 2 of the 3 images of manifest\.csv, train/i/b\.png first; `dvc checkout`"
    )
    with pytest.raises(DatasetError, match=message):
        read_manifest(path, folder)


def test_labels_are_positions_among_the_classes() -> None:
    positions = label_positions(pd.Series(["v", "i", "v"], index=[7, 8, 9]), ["i", "v", "x"])
    assert positions.dtype == np.int64
    assert positions.tolist() == [1, 0, 1]
    assert label_positions([], ["i"]).shape == (0,)


def test_a_label_that_is_no_class_is_refused() -> None:
    message = r"have the label\(s\) a, b, but the classes are i, v; `dvc repro` makes"
    with pytest.raises(DatasetError, match=message):
        label_positions(["i", "b", "a", "b"], ["i", "v"])
