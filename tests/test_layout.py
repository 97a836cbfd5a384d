"""Where files lie, and what errors there are."""

import inspect
import re
from pathlib import Path

from databoost import errors
from databoost.errors import DataboostError, listed
from databoost.layout import SPLITS, Layout, RoundLayout


def test_a_temporary_copy_for_an_experiment_has_its_home_in_the_project(tmp_path: Path) -> None:
    assert Layout(tmp_path).home() == tmp_path
    for copy in ("standalone/tmp1", "tmp2/deep/in/a/repository"):
        assert Layout(tmp_path / ".dvc" / "tmp" / "exps" / copy).home() == tmp_path


def test_every_file_of_a_project_has_one_place() -> None:
    layout = Layout(Path("project"))
    here = layout.round("r01")
    places = {
        f"{type(owner).__name__}.{name}": getattr(owner, name)
        for owner in (layout, here)
        for name, value in vars(type(owner)).items()
        if isinstance(value, property)
    }
    assert len(set(places.values())) == len(places)
    assert all(path.is_relative_to("project") for path in places.values())


def test_the_places_that_dvc_and_people_rely_on() -> None:
    layout = Layout(Path())
    assert layout.params == Path("params.yaml")
    assert layout.corrections == Path("data/corrections.csv")
    assert layout.raw == Path("data/raw")
    assert layout.heldout_manifest == Path("data/heldout/manifest.csv")
    assert layout.duplicates == Path("data/rounds/r00/duplicates.csv")
    assert layout.embeddings == Path("data/candidates/embeddings.npy")
    here = layout.round("r01")
    assert here == RoundLayout(Path("data/rounds/r01"), "r01")
    assert here.manifest == Path("data/rounds/r01/manifest.csv")
    assert here.dataset == Path("data/rounds/r01/dataset")
    assert here.checkpoint == Path("data/rounds/r01/model/best.ckpt")
    assert here.sheet == Path("data/rounds/r01/evaluation/sheet.csv")
    assert SPLITS == ("train", "val", "test", "label_book")


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    classes = {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, DataboostError)
    }
    assert drawn == classes.keys() - {"DataboostError"}
    assert all(classes[name].__bases__ == (DataboostError,) for name in drawn)


def test_problems_are_listed_one_a_line() -> None:
    assert listed(["a", "b"]) == "\n  - a\n  - b"
    assert listed([]) == ""
