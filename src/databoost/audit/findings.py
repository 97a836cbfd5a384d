"""What an audit lists: one row a finding about raw images, and the figures that sum them up."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from databoost.audit.image_checks import exact_leaks, odd_sizes
from databoost.audit.regions import Region
from databoost.audit.shift import ShiftResult
from databoost.data.tables import FINDINGS
from databoost.layout import SPLITS
from databoost.sections import AuditParams

#: The findings, in the order in which they are listed.
KINDS = (
    "unreadable", "blank", "nearly blank", "tiny", "odd size",
    "exact leak", "exact duplicate", "near leak", "near-duplicate", "uneven region",
)  # fmt: skip
_DECIMALS = 4


def unreadable_findings(unreadable: pd.DataFrame) -> pd.DataFrame:
    """List files that are no image (``UNREADABLE``); ``value`` is their size in bytes."""
    return _findings(
        "unreadable", unreadable, value=unreadable["n_bytes"], detail=unreadable["reason"]
    )


def image_findings(
    images: pd.DataFrame,
    shares: npt.NDArray[np.float64],
    heights: npt.NDArray[np.int64],
    widths: npt.NDArray[np.int64],
    rules: AuditParams,
) -> pd.DataFrame:
    """List images that hold (nearly) nothing, or whose size is not that of the rest.

    Parameters
    ----------
    images
        ``RAW_INDEX`` rows.
    shares
        (n,) how much of each is content, 0 to 1.
    heights, widths
        (n,) in pixels.
    """
    oddness = odd_sizes(heights, widths)
    sizes = pd.Series(
        [f"{w} x {h}" for w, h in zip(widths, heights, strict=True)], images.index, dtype=object
    )
    is_blank = shares == 0
    is_nearly = ~is_blank & (shares < rules.nearly_blank)
    is_tiny = np.minimum(heights, widths) < rules.smallest_side
    is_odd = ~is_tiny & (oddness >= rules.odd_size)
    found = [
        ("blank", is_blank, shares),
        ("nearly blank", is_nearly, shares),
        ("tiny", is_tiny, np.minimum(heights, widths)),
        ("odd size", is_odd, oddness),
    ]
    return pd.concat(
        [
            _findings(kind, images[which], value=values[which], detail=sizes[which])
            for kind, which, values in found
        ],
        ignore_index=True,
    )


def copy_findings(images: pd.DataFrame) -> pd.DataFrame:
    """List exact copies: leaks between splits (one row an image and pair of splits), and the rest.

    ``value`` is 1, as the similarity of copies.
    """
    by_split = images.drop_duplicates(["image_id", "split"]).set_index(["image_id", "split"])
    leaks = exact_leaks(images)
    here = by_split.loc[list(zip(leaks["image_id"], leaks["split"], strict=True))].reset_index()
    there = by_split.loc[list(zip(leaks["image_id"], leaks["other_split"], strict=True))]
    kept = images.drop_duplicates(["image_id", "split"])
    again = images.drop(kept.index)
    first = by_split.loc[list(zip(again["image_id"], again["split"], strict=True))].reset_index()
    return pd.concat(
        [
            _pairs("exact leak", here, there.reset_index(), np.ones(len(here))),
            _pairs("exact duplicate", again.reset_index(drop=True), first, np.ones(len(again))),
        ],
        ignore_index=True,
    )


def near_findings(images: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """List near-duplicates, those of two splits as leaks; ``value`` is their similarity.

    Parameters
    ----------
    images
        ``RAW_INDEX`` rows, each image once.
    pairs
        Positions among them, chosen by :func:`~databoost.audit.near_duplicates.pairs_to_list`.
    """
    here = images.iloc[pairs["first"].to_numpy()].reset_index(drop=True)
    there = images.iloc[pairs["second"].to_numpy()].reset_index(drop=True)
    values = pairs["similarity"].to_numpy()
    is_leak = (here["split"] != there["split"]).to_numpy()
    return pd.concat(
        [
            _pairs(kind, here[which], there[which], values[which])
            for kind, which in (("near leak", is_leak), ("near-duplicate", ~is_leak))
        ],
        ignore_index=True,
    )


def region_findings(regions: Sequence[Region], images: pd.DataFrame) -> pd.DataFrame:
    """List the typical images of regions that train and val cover unevenly; ``value`` is p.

    Parameters
    ----------
    images
        Rows with ``image_id``, ``path``, ``split`` and ``label``, each image once, split and
        labelled as the regions were found.
    """
    by_id = images.set_index("image_id", drop=False)
    found = [FINDINGS.empty()]
    for region in regions:
        rows = by_id.loc[list(region.example_ids)]
        told = (
            f"region {region.number}, mostly {region.label}: {region.n_train} train, "
            f"{region.n_val} val ({region.expected_val:.1f} expected); {region.lacks} lacks it"
        )
        n = len(rows)
        found.append(
            _findings(
                "uneven region",
                rows,
                value=pd.Series([region.p_value] * n, rows.index),
                detail=pd.Series([told] * n, rows.index, dtype=object),
            )
        )
    return pd.concat(found, ignore_index=True)


def order_findings(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put findings together: ``FINDINGS`` by kind, the order of each kind's own list kept."""
    every = pd.concat(parts, ignore_index=True)
    places = every["finding"].map({kind: place for place, kind in enumerate(KINDS)})
    ordered = every.assign(place=places).sort_values("place", kind="stable")
    return FINDINGS.frame({column: ordered[column].to_numpy() for column in FINDINGS.columns})


def audit_figures(
    findings: pd.DataFrame,
    images: pd.DataFrame,
    n_regions: int,
    shift: ShiftResult | None,
    n_pairs: int,
) -> dict[str, Any]:
    """Sum an audit up.

    Parameters
    ----------
    findings
        ``FINDINGS``.
    images
        ``RAW_INDEX`` of the raw images.
    n_regions
        Uneven regions, each of which has several rows in `findings`.
    shift
        How far train and val differ; None if it could not be measured.
    n_pairs
        Pairs of near-duplicates, not all of which `findings` lists.

    Returns
    -------
    dict
        ``findings`` (number by kind), ``n_near_duplicate_pairs``, ``n_images`` by split,
        ``class_balance`` (images by split and class), and ``train_val_difference`` if it was
        measured.
    """
    counts = findings["finding"].value_counts()
    numbers = {kind: int(counts.get(kind, 0)) for kind in KINDS} | {"uneven region": n_regions}
    splits = [split for split in SPLITS if (images["split"] == split).any()]
    balance = {
        split: {
            str(label): int(n)
            for label, n in images.loc[images["split"] == split, "label"]
            .value_counts(sort=False)
            .sort_index()
            .items()
        }
        for split in splits
    }
    return {
        "findings": numbers,
        "n_near_duplicate_pairs": n_pairs,
        "n_images": {split: sum(balance[split].values()) for split in splits},
        "class_balance": balance,
        **({"train_val_difference": shift.metrics()} if shift else {}),
    }


def _pairs(
    kind: str, here: pd.DataFrame, there: pd.DataFrame, values: npt.NDArray[np.float64]
) -> pd.DataFrame:
    is_same = here["label"].to_numpy() == there["label"].to_numpy()
    frame = _findings(
        kind,
        here,
        value=pd.Series(values, here.index),
        detail=pd.Series(np.where(is_same, "", "two labels"), here.index, dtype=object),
    )
    for column in ("image_id", "split", "label"):
        frame[f"other_{column.removeprefix('image_')}"] = there[column].to_numpy()
    return frame


def _findings(kind: str, rows: pd.DataFrame, value: Any, detail: Any) -> pd.DataFrame:
    n = len(rows)

    def text(column: str) -> list[str]:
        return list(rows[column]) if column in rows else [""] * n

    return FINDINGS.frame(
        {
            "finding": [kind] * n,
            "image_id": text("image_id"),
            "path": text("path"),
            "split": text("split"),
            "label": text("label"),
            "value": np.asarray(value, dtype=np.float64).round(_DECIMALS),
            "other_id": [""] * n,
            "other_split": [""] * n,
            "other_label": [""] * n,
            "detail": list(detail),
        }
    )
