"""``audit``: the raw images and r00 -> what is wrong with them, listed and counted."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from databoost.audit.findings import (
    audit_figures,
    copy_findings,
    image_findings,
    near_findings,
    order_findings,
    region_findings,
    unreadable_findings,
)
from databoost.audit.image_checks import content_share
from databoost.audit.near_duplicates import (
    Fingerprints,
    find_pairs,
    fingerprint,
    group_pairs,
    pairs_to_list,
)
from databoost.audit.regions import Region, uncovered_regions
from databoost.audit.shift import ShiftResult, two_sample_test
from databoost.data.files import whole_folder, write_json
from databoost.data.images import ImageFiles, Pixels
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import FINDINGS, MANIFEST, RAW_INDEX, UNREADABLE
from databoost.errors import DatasetError
from databoost.layout import Layout
from databoost.params import Params
from databoost.sections import AuditParams

#: Splits in the order in which ``prepare`` prefers one of several exact copies.
_PREFERRED = ("test", "val", "train", "label_book")


def audit(layout: Layout, params: Params) -> None:
    """Run the stage."""
    raw = read_table(layout.raw_index, RAW_INDEX)
    unreadable = read_table(layout.unreadable, UNREADABLE)
    images = _each_once(raw)
    prints, shares, sizes = _look(ImageFiles([layout.raw / path for path in images["path"]]))
    rules = params.audit
    pairs = find_pairs(prints, rules)
    snapshot = read_table(layout.round("r00").manifest, MANIFEST)
    groups = group_pairs(pairs, len(images))
    listed = pairs_to_list(pairs, groups, images["split"].to_numpy(dtype=object))
    regions, shift = _compare(snapshot, images, prints, groups, rules)
    raw_path = snapshot["image_id"].map(images.set_index("image_id")["path"])
    findings = order_findings(
        [
            unreadable_findings(unreadable),
            image_findings(images, shares, sizes[:, 0], sizes[:, 1], rules),
            copy_findings(raw),
            near_findings(images, listed),
            region_findings(regions, snapshot.assign(path=raw_path)),
        ]
    )
    figures = audit_figures(findings, raw, len(regions), shift, len(pairs))
    with whole_folder(layout.audit) as part:
        write_table(part / layout.findings.name, findings, FINDINGS)
        write_json(part / layout.audit_summary.name, figures)
    for kind, number in figures["findings"].items():
        print(f"{number:7,}  {kind}")
    if len(listed) < len(pairs):
        print(
            f"of {len(pairs):,} pairs of near-duplicates the most similar of each image are listed"
        )
    told = f"are told apart with an AUC of {shift}" if shift else "could not be compared"
    print(f"train and val of r00 {told}; 0.5 is no difference")
    print(f"listed in {layout.findings.relative_to(layout.root)}")


def _each_once(raw: pd.DataFrame) -> pd.DataFrame:
    """Of exact copies the one that ``prepare`` keeps, in the order of the rows."""
    place = raw["split"].map(_PREFERRED.index)
    by_preference = raw.assign(place=place).sort_values(["place", "path"])
    kept = by_preference.drop_duplicates("image_id").index
    return raw.loc[kept.sort_values()].reset_index(drop=True)


def _look(
    files: ImageFiles,
) -> tuple[Fingerprints, npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Decode every image once: fingerprints, shares of content (n,), heights and widths (n, 2)."""
    shares, sizes = [], []

    def passing() -> Iterator[Pixels]:
        for image in tqdm(files, desc="audit", unit="image", mininterval=1.0):
            shares.append(content_share(image))
            sizes.append(image.shape[:2])
            yield image

    prints = fingerprint(passing())
    return prints, np.array(shares), np.array(sizes, dtype=np.int64)


def _compare(
    snapshot: pd.DataFrame,
    images: pd.DataFrame,
    prints: Fingerprints,
    groups: npt.NDArray[np.int64],
    rules: AuditParams,
) -> tuple[list[Region], ShiftResult | None]:
    """Compare train and val of r00."""
    places = pd.Series(images.index, images["image_id"])[snapshot["image_id"]].to_numpy()
    looks = prints.strokes[places]
    is_val = (snapshot["split"] == "val").to_numpy()
    labels = snapshot["label"].to_numpy(dtype=object)
    try:
        shift = two_sample_test(looks, is_val, labels, rules.seed, groups[places])
    except DatasetError:  # no label has both, or all images look the same
        return [], None
    return uncovered_regions(looks, is_val, labels, list(snapshot["image_id"]), rules.seed), shift
