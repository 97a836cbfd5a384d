"""What a snapshot can be refused for, and the reasons that are counted."""

import pandas as pd
import pytest
from handmade_tables import manifest, raw

from databoost.data.corrections import apply_corrections
from databoost.data.datasets import resolve_duplicates
from databoost.data.tables import CORRECTIONS
from databoost.data.usable import check_usable, lost_images
from databoost.errors import DatasetError


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
