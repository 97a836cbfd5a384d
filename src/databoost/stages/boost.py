"""``boost``: the failures of a round and the candidates -> the next snapshot."""

import shutil

from databoost.additions import (
    addition_rows,
    boost_summary,
    find_queries,
    grown_manifest,
    needs_queries,
    snapshot_room,
)
from databoost.boosting import stop_reason
from databoost.data.datasets import read_manifest, write_dataset
from databoost.data.files import write_json
from databoost.data.tablefiles import read_recipes, read_table, write_table
from databoost.data.tables import ADDITIONS, MANIFEST, RECIPES, SHEET, SUSPECTS
from databoost.drawing import Contents
from databoost.layout import Layout
from databoost.mining import Mine
from databoost.params import Params


def boost(layout: Layout, params: Params, name: str) -> None:
    """Run the stage for the round `name`.

    Raises
    ------
    ParamsError
        If the candidates were drawn under another policy than params.yaml holds now.
    DatasetError
        If they were drawn from other images, or embedded by another embedder, than there are now.
    """
    here, before = layout.round(name), layout.round(params.boosts[name].previous)
    manifest = read_manifest(before.manifest, before.dataset)
    sheet = read_table(before.sheet, SHEET)
    queries = find_queries(sheet, params.boost, _suspects(layout, params))
    recipes = RECIPES.empty()
    if params.boost.strategy != "none":
        recipes = read_recipes(layout.recipes)
    room = snapshot_room(manifest, params)
    scratch = layout.state / "drawn" / name
    shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    contents = Contents(scratch)
    mine = Mine(layout, params, before, manifest, queries, recipes, contents)
    chosen, measured = mine.fill(room)
    added = addition_rows(chosen, recipes, queries, params.boost.strategy)
    grown = grown_manifest(manifest, added, name)
    paths = dict(zip(manifest["image_id"], manifest["path"], strict=True))

    def content(image: str) -> bytes:
        return contents.get(image) or (before.dataset / paths[image]).read_bytes()

    write_dataset(grown, here.dataset, content)
    shutil.rmtree(scratch, ignore_errors=True)
    write_table(here.manifest, grown, MANIFEST)
    write_table(here.additions, added, ADDITIONS)
    stop = stop_reason(len(queries), len(added), room, needs_queries(params.boost))
    write_json(here.boost, boost_summary(name, params, grown, len(queries), added, measured, stop))
    print(
        f"{name}: {len(queries)} queries in {before.name}, {len(added)} additions "
        f"({params.boost.strategy}){f'; stop: {stop}' if stop else ''}"
    )


def _suspects(layout: Layout, params: Params) -> set[str]:
    if params.boost.suspects == "ask":
        return set()
    scores = read_table(layout.scores, SUSPECTS)
    return set(scores[scores["is_label_issue"]]["image_id"])
