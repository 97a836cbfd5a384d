"""Datasets: the rule of size, duplicates, splits, and the files of a snapshot."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from databoost.data.corrections import apply_corrections
from databoost.data.datasets import (
    check_usable,
    choose_validation,
    label_positions,
    lost_images,
    padded_size,
    read_classes,
    read_manifest,
    resolve_duplicates,
    room_left,
    sort_manifest,
    write_dataset,
)
from databoost.data.tablefiles import write_table
from databoost.data.tables import CLASSES, CORRECTIONS, DUPLICATES, MANIFEST, RAW_INDEX
from databoost.errors import DatasetError, TableError


def raw(*rows: str) -> pd.DataFrame:
    """Give a raw index of rows written ``id split/label/file``."""
    cells = [(row.split()[0], row.split()[1]) for row in rows]
    return RAW_INDEX.frame(
        {
            "image_id": [image_id for image_id, _ in cells],
            "path": [path for _, path in cells],
            "split": [path.split("/")[0] for _, path in cells],
            "label": [path.split("/")[1] for _, path in cells],
        }
    )


def told(duplicates: pd.DataFrame) -> list[str]:
    assert list(duplicates.columns) == list(DUPLICATES.columns)
    return [f"{row.image_id} {row.path}: {row.outcome}" for row in duplicates.itertuples()]


def manifest(*paths: str) -> pd.DataFrame:
    n = len(paths)
    cells = {column: [""] * n for column in MANIFEST.columns}
    cells |= {
        "image_id": [f"{number:016x}" for number in range(n)],
        "path": list(paths),
        "split": [path.split("/")[0] for path in paths],
        "label": [path.split("/")[1] for path in paths],
        "similarity": [np.nan] * n,
    }
    return MANIFEST.frame(cells)


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


def test_a_snapshot_that_can_be_trained_on_passes() -> None:
    assert check_usable(manifest("train/i/a.png", "train/ii/b.png", "val/i/c.png")) == []


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], r"left in train and val; look at data/corrections\.csv and the split section"),
        (["train/i/a.png"], "no image is left in val; look at"),
        (["val/i/a.png"], "no image is left in train; look at"),
        (
            ["train/i/a.png", "val/v/b.png", "val/ii/c.png", "val/i/d.png"],
            "validation has classes that training lacks: ii, v; rename a misspelt folder in the "
            "source and give it again; if it is no misspelling, split.strategy: stratified pools",
        ),
        (
            ["train/i/a.png", "val/i/b.png"],
            "train has images of one class, 'i', and a model needs two to tell apart$",
        ),
    ],
)
def test_a_snapshot_that_cannot_be_trained_on(paths: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_usable(manifest(*paths))


def test_what_is_advised_fits_the_strategy() -> None:
    with pytest.raises(DatasetError, match="lacks: v; give more images of them, move some") as told:
        check_usable(manifest("train/i/a.png", "val/v/b.png"), "stratified")
    assert "split.strategy: stratified" not in str(told.value)
    with pytest.raises(DatasetError, match=r"left in val \(near-duplicates stay together\); look"):
        check_usable(manifest("train/i/a.png"), "matched")


def corrected(images: pd.DataFrame, *lines: str) -> pd.DataFrame:
    """Apply lines of the ledger written ``id action value``."""
    cells = [[*line.split(), ""][:3] for line in lines]
    columns = {
        column: [row[place] for row in cells]
        for place, column in enumerate(["image_id", "action", "value"])
    }
    ledger = CORRECTIONS.frame({**columns, "reason": [""] * len(cells)})
    return apply_corrections(images, ledger, sorted(set(images["label"])))


def checked(images: pd.DataFrame, *lines: str, strategy: str = "given") -> list[str]:
    """Correct, resolve and check images as ``prepare`` does, but for a new split."""
    again = corrected(images, *lines)
    kept = resolve_duplicates(again).images
    ours = kept[kept["split"].isin(["train", "val"])]
    return check_usable(ours, strategy, lost_images(images, again, kept))


def test_lost_images_have_a_reason() -> None:
    images = raw(
        "a train/i/1.png",
        "b train/i/2.png",
        "c train/i/3.png",
        "d train/i/4.png",
        "d train/v/5.png",
        "e train/i/6.png",
        "e test/v/7.png",
        "f train/i/8.png",
        "f val/i/9.png",
        "g train/i/10.png",
        "h train/i/11.png",
        "h train/i/12.png",
        "k val/i/13.png",
        "k val/v/14.png",
        "k train/x/15.png",
        "m train/i/16.png",
        "m train/v/17.png",
    )
    again = corrected(images, "a delete", "b relabel v", "c move val", "m relabel v")
    lost = lost_images(images, again, resolve_duplicates(again).images)
    assert [
        f"{row.image_id} {row.split}/{row.label} {row.reason}{' *' * row.is_by_hand}"
        f"{', left' * row.is_left}"
        for row in lost.itertuples()
    ] == [
        "a train/i deleted by data/corrections.csv *",
        "b train/i relabelled by data/corrections.csv *",
        "c train/i moved to val by data/corrections.csv *, left",
        "d train/i in both 'i' and 'v'",
        "d train/v in both 'i' and 'v'",
        "e train/i also in test",
        "f train/i also in val, left",
        "k val/i in all of 'i' and 'v' and 'x'",
        "k val/v in all of 'i' and 'v' and 'x'",
        "k train/x in all of 'i' and 'v' and 'x'",
        "m train/i relabelled by data/corrections.csv *",
    ]
    nothing = lost_images(images[:1], images[:1], images[:1])
    assert (len(nothing), nothing["is_by_hand"].dtype, nothing["is_left"].dtype) == (0, bool, bool)


def test_a_folder_of_copies_that_empties_a_class_is_refused() -> None:
    cats = [f"{image_id} {split}/{label}/{image_id}.png"
            for label in ("cat", "cat_copy")
            for image_id, split in (("a", "train"), ("b", "train"), ("c", "val"))]  # fmt: skip
    dogs = ["d train/dog/d.png", "e val/dog/e.png"]
    listed = (
        "\n  - 'cat' had 3 image(s): 3 in both 'cat' and 'cat_copy'"
        "\n  - 'cat_copy' had 3 image(s): 3 in both 'cat' and 'cat_copy'"
        "\ndata/rounds/r00/duplicates.csv lists the copies: take those that do not belong there "
        "out of the source and give it again, or relabel or delete them in data/corrections.csv"
    )
    with pytest.raises(DatasetError) as told:
        checked(raw(*cats, *dogs))
    assert str(told.value) == (
        "train has images of one class, 'dog', and a model needs two to tell apart:" + listed
    )
    for strategy in ("given", "stratified"):
        with pytest.raises(DatasetError) as told:
            checked(raw(*cats, *dogs, "f train/fox/f.png"), strategy=strategy)
        assert str(told.value) == "no image is left of the class(es) cat, cat_copy:" + listed
    # One label for each file: its class is whole, and that of the other folder is empty by hand.
    assert checked(raw(*cats, *dogs), *(f"{image_id} relabel cat" for image_id in "abc")) == [
        "'cat_copy' had 3 image(s): 3 relabelled by data/corrections.csv"
    ]


def test_a_class_emptied_by_the_ledger_is_told_as_long_as_two_are_left() -> None:
    images = raw("a train/i/1.png", "b train/i/2.png", "c train/v/3.png", "d val/v/4.png",
                 "e train/x/5.png")  # fmt: skip
    assert checked(images, "a delete", "b relabel v") == [
        "'i' had 2 image(s): 1 deleted by data/corrections.csv, 1 relabelled by "
        "data/corrections.csv"
    ]
    with pytest.raises(DatasetError) as told:
        checked(images[:4], "a delete", "b delete")
    assert str(told.value) == (
        "train has images of one class, 'v', and a model needs two to tell apart:"
        "\n  - 'i' had 2 image(s): 2 deleted by data/corrections.csv"
        "\nwhat data/corrections.csv does is undone by taking its lines out"
    )


def test_a_class_lost_to_copies_in_part_is_refused() -> None:
    images = raw("a train/i/1.png", "b train/i/2.png", "b test/i/3.png", "c train/v/4.png",
                 "d val/v/5.png", "e train/x/6.png")  # fmt: skip
    message = (
        r"left of the class\(es\) i:\n  - 'i' had 2 image\(s\): 1 deleted by "
        r"data/corrections\.csv, 1 also in test\ndata/rounds/r00/duplicates\.csv lists .*; what "
        r"data/corrections\.csv does is undone"
    )
    with pytest.raises(DatasetError, match=message):
        checked(images, "a delete")


def test_an_empty_train_or_val_counts_what_became_of_its_images() -> None:
    everything = raw("a train/all/1.png", "a train/i/2.png", "b val/all/3.png", "b val/v/4.png")
    with pytest.raises(DatasetError) as told:
        checked(everything)
    assert str(told.value).splitlines()[:4] == [
        "no image is left in train and val:",
        "  - 'all' had 2 image(s): 1 in both 'all' and 'i', 1 in both 'all' and 'v'",
        "  - 'i' had 1 image(s): 1 in both 'all' and 'i'",
        "  - 'v' had 1 image(s): 1 in both 'all' and 'v'",
    ]
    twice = raw("a train/i/1.png", "a val/i/2.png", "b train/v/3.png", "b val/v/4.png",
                "c val/v/5.png")  # fmt: skip
    with pytest.raises(DatasetError) as told:
        checked(twice, "c delete")
    assert str(told.value).splitlines()[:3] == [
        "no image is left in train:",
        "  - 'i' had 1 image(s): 1 also in val",
        "  - 'v' had 1 image(s): 1 also in val",
    ]
    with pytest.raises(DatasetError, match=r"left in val:\n  - 'i' had 1 .* 1 moved to train by"):
        checked(raw("a train/i/1.png", "b val/i/2.png"), "b move train")
    # Of one pool, nothing is lost to the other side.
    with pytest.raises(DatasetError, match=r"in train \(near-duplicates stay together\); look"):
        checked(twice[:4], strategy="matched")


def test_a_class_whose_training_images_are_gone_counts_them() -> None:
    images = raw("a train/i/1.png", "a test/i/2.png", "b val/i/3.png", "c train/v/4.png")
    with pytest.raises(DatasetError, match=r"lacks: i:\n  - 'i' had 1 image.s.: 1 also in test\n"):
        checked(images)
    typo = raw("a train/i/1.png", "a test/i/2.png", "b val/i/3.png", "c train/v/4.png",
               "d val/vv/5.png")  # fmt: skip
    with pytest.raises(DatasetError, match=r"lacks: i, vv; rename a misspelt .*:\n  - 'i' had 1"):
        checked(typo)


def test_of_many_reasons_the_most_frequent_are_shown() -> None:
    rows = [f"{n}{label} train/{folder}/{n}{label}.png"
            for n, label in enumerate("abcdefg") for folder in ("all", label)]  # fmt: skip
    rows += ["x train/all/x.png", "x train/a/x.png", "y train/v/1.png", "z val/v/1.png"]
    message = r"'all' had 8 .*: 2 in both 'a' and 'all', 1 in .* and 'e', 2 for other reasons\n"
    with pytest.raises(DatasetError, match=message):
        checked(raw(*rows))


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
