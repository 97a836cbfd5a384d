"""What traces to which addition, on tables and vectors written by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from handmade_traces import (
    ADDED,
    FAILURES,
    NEARNESS,
    ON_AXIS,
    additions,
    failures,
    make_current,
    plane,
)

from databoost.attribution import FIXED, NEWLY_WRONG, STILL_WRONG
from databoost.data.files import write_text
from databoost.data.tablefiles import write_table
from databoost.data.tables import ADDITIONS, CREDITS, TRACES
from databoost.errors import TableError
from databoost.layout import Layout, RoundLayout
from databoost.tracing import (
    TRACED,
    credit_groups,
    input_digests,
    is_current,
    read_traces,
    told_of_addition,
    told_of_image,
    trace_counts,
    trace_images,
)


def traced() -> pd.DataFrame:
    return trace_images(FAILURES, ADDED, ON_AXIS, NEARNESS)


def test_an_image_is_traced_to_its_nearest_additions_and_to_those_fetched_for_it() -> None:
    assert TRACED == 3
    columns = ["image_id", "addition_id", "is_asked", "is_near", "similarity", "speaks_for"]
    assert traced()[columns].to_numpy().tolist() == [
        ["f", "e", False, True, 0.96, "neither"],
        ["f", "c", False, True, 0.8, "label"],  # as near as d: the smaller id first
        ["f", "d", False, True, 0.8, "neither"],
        ["f", "a", True, False, 0.28, "label"],
        ["s", "e", False, True, 0.96, "prediction"],
        ["s", "c", True, True, 0.8, "label"],
        ["s", "d", False, True, 0.8, "neither"],
        ["n", "e", False, True, 0.96, "neither"],
        ["n", "c", False, True, 0.8, "label"],
        ["n", "d", False, True, 0.8, "prediction"],
    ]


def test_a_trace_holds_what_image_and_addition_are() -> None:
    assert list(traced().columns) == list(TRACES.columns)
    assert traced().iloc[5].to_dict() == {
        "image_id": "s",
        "outcome": STILL_WRONG,
        "label": "i",
        "predicted_before": "v",
        "predicted_after": "v",
        "addition_id": "c",
        "addition_label": "i",
        "parent_id": "p",
        "query_id": "s",
        "is_asked": True,
        "is_near": True,
        "similarity": 0.8,
        "speaks_for": "label",
    }


def test_similarities_tie_where_six_decimals_do_and_no_zero_is_negative() -> None:
    added = additions(("b", "i", "p", ""), ("a", "i", "p", ""), ("c", "i", "p", ""))
    near = plane(0.6, 0.5999999, -1e-9)
    found = trace_images(FAILURES[:1], added, ON_AXIS[:1], near)
    assert found["addition_id"].tolist() == ["a", "b", "c"]
    assert [str(similarity) for similarity in found["similarity"]] == ["0.6", "0.6", "0.0"]


def test_many_images_are_traced_like_one_by_one() -> None:
    n = 600
    many = failures(*((f"{k:03d}", FIXED, "i", "v", "i") for k in range(n)))
    vectors = plane(*np.linspace(-1, 1, n))
    found = trace_images(many, ADDED, vectors, NEARNESS)
    assert len(found) == n * TRACED
    assert found["image_id"].tolist() == np.repeat(many["image_id"], TRACED).tolist()
    last = trace_images(many[-1:], ADDED, vectors[-1:], NEARNESS)
    assert found[-TRACED:].to_numpy().tolist() == last.to_numpy().tolist()


def test_fewer_additions_than_an_image_is_traced_to() -> None:
    found = trace_images(FAILURES, ADDED[:2], ON_AXIS, NEARNESS[:2])
    assert found["addition_id"].tolist() == ["e", "d"] * 3


def test_without_images_or_additions_nothing_is_traced() -> None:
    nothing = np.empty((0, 2), dtype=np.float32)
    for images, added in ((FAILURES[:0], ADDED), (FAILURES, ADDITIONS.empty())):
        found = trace_images(images, added, nothing, nothing)
        assert found.empty
        assert list(found.columns) == list(TRACES.columns)
        assert credit_groups(found, ADDITIONS.empty()).empty
    counts = trace_counts(FAILURES, TRACES.empty())
    assert counts == {
        "n_fixed": 1, "n_still_wrong": 1, "n_newly_wrong": 1,
        "n_fixed_traced": 0, "n_still_wrong_traced": 0, "n_newly_wrong_traced": 0,
    }  # fmt: skip
    assert set(trace_counts(FAILURES[:0], TRACES.empty()).values()) == {0}


def test_credits_by_class_parent_and_query() -> None:
    found = credit_groups(traced(), ADDED)
    assert list(found.columns) == list(CREDITS.columns)
    assert found.to_numpy().tolist() == [
        ["class", "i", 3, 1, 0],  # f traces to c and a, and is one image
        ["class", "v", 1, 0, 0],
        ["class", "x", 1, 0, 1],  # n is taken for x
        ["parent", "p", 3, 1, 1],
        ["parent", "q", 2, 0, 0],
        ["query", "f", 1, 1, 0],
        ["query", "s", 1, 1, 0],  # f lies near what s had asked for
    ]


def test_credits_of_additions_that_none_asked_for_name_no_query() -> None:
    drawn = ADDED.assign(query_id="")
    found = credit_groups(trace_images(FAILURES, drawn, ON_AXIS, NEARNESS), drawn)
    assert set(found["by"]) == {"class", "parent"}


def test_counts_of_those_traced_to_an_addition_that_speaks_for_the_outcome() -> None:
    assert trace_counts(FAILURES, traced()) == {
        "n_fixed": 1, "n_still_wrong": 1, "n_newly_wrong": 1,
        "n_fixed_traced": 1, "n_still_wrong_traced": 1, "n_newly_wrong_traced": 1,
    }  # fmt: skip
    other = ADDED.assign(label="v")  # speaks for none of them
    without = trace_counts(FAILURES, trace_images(FAILURES, other, ON_AXIS, NEARNESS))
    assert {name for name, n in without.items() if n} == {
        "n_fixed", "n_still_wrong", "n_newly_wrong",
    }  # fmt: skip


def test_told_in_few_words() -> None:
    rows = traced()
    assert told_of_image(rows[rows["image_id"] == "f"]) == (
        "v e… 0.960, i c… 0.800, x d… 0.800, i a… 0.280 (fetched)"
    )
    of_f = rows[rows["image_id"] == "f"]
    many = pd.concat([of_f, of_f.tail(1), of_f.tail(1)])
    assert told_of_image(many).endswith(", i a… 0.280 (fetched), 2 more (fetched)")
    of_c = rows[rows["addition_id"] == "c"]
    assert told_of_addition(of_c, "s") == "asked for by s; near 1 fixed, 1 newly wrong"
    assert told_of_addition(of_c, "") == "near 1 fixed, 1 newly wrong"
    of_a = rows[rows["addition_id"] == "a"]  # fetched for f, and not near it
    assert told_of_addition(of_a, "f") == "asked for by f; near 0 fixed, 0 newly wrong"
    assert told_of_addition(TRACES.empty(), "") == "near 0 fixed, 0 newly wrong"


def test_outcomes_of_many_images_are_counted_once_a_group() -> None:
    both = failures(("g", FIXED, "i", "v", "i"), ("m", NEWLY_WRONG, "v", "v", "i"))
    added = additions(("a", "i", "p", ""), ("b", "i", "p", ""), ("c", "i", "r", ""))
    found = credit_groups(trace_images(both, added, plane(1, 1), plane(0.9, 0.8, 0.7)), added)
    assert found.to_numpy().tolist() == [
        ["class", "i", 3, 1, 1],
        ["parent", "p", 2, 1, 1],
        ["parent", "r", 1, 1, 1],
    ]


def before(here: RoundLayout) -> RoundLayout:
    return RoundLayout(here.root.with_name("r00"), "r00")


@pytest.fixture
def here(tmp_path: Path) -> RoundLayout:
    """A round whose attribution is current."""
    here = Layout(tmp_path).round("r01")
    write_text(here.sheet, "sheet\n")
    write_text(before(here).sheet, "sheet before\n")
    write_table(here.additions, ADDED, ADDITIONS)
    write_table(here.traces, traced(), TRACES)
    make_current(here)
    return here


def test_traces_of_the_sheet_and_additions_that_lie_here_are_read(here: RoundLayout) -> None:
    assert is_current(here)
    assert read_traces(here)["image_id"].tolist() == traced()["image_id"].tolist()


@pytest.mark.parametrize("name", ["sheet", "previous sheet", "additions"])
def test_traces_are_stale_once_what_they_were_made_of_is_another(
    here: RoundLayout, name: str
) -> None:
    path: Path = before(here).sheet if name == "previous sheet" else getattr(here, name)
    content = path.read_text()
    write_text(path, f"{content}more\n")
    assert not is_current(here)
    assert read_traces(here).empty
    assert list(read_traces(here).columns) == list(TRACES.columns)
    write_text(path, content)
    assert is_current(here)


@pytest.mark.parametrize(
    "name",
    ["sheet", "additions", "traces", "credits", "attribution_metrics", "attribution_inputs"],
)
def test_an_attribution_that_lacks_a_file_is_not_current(here: RoundLayout, name: str) -> None:
    getattr(here, name).unlink()
    assert not is_current(here)
    assert read_traces(here).empty


def test_an_attribution_with_damaged_inputs_is_an_error(here: RoundLayout) -> None:
    write_text(here.attribution_inputs, "{")
    with pytest.raises(TableError, match=r"inputs\.json is not readable JSON"):
        read_traces(here)


def test_digests_of_what_traces_are_made_of(here: RoundLayout) -> None:
    write_text(before(here).sheet, "sheet\n")
    digests = input_digests(here)
    assert list(digests) == ["sheet", "previous_sheet", "additions"]
    assert digests["sheet"] == digests["previous_sheet"] != digests["additions"]
