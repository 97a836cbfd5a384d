"""What ``dvc plots`` draws: templates that exist, and columns that the tables have."""

import json

import pytest
from projects import REPOSITORY
from ruamel.yaml import YAML

from databoost.data.tables import CONFUSIONS, CURVES, ROUNDS

TABLES = {
    "reports/rounds.csv": ROUNDS,
    "reports/curves.csv": CURVES,
    "reports/confusion.csv": CONFUSIONS,
}
PROJECT = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")
PLOTS = {name: plot for entry in PROJECT["plots"] for name, plot in entry.items()}


@pytest.mark.parametrize("name", sorted(PLOTS))
def test_a_plot_draws_columns_of_an_output_with_a_template(name: str) -> None:
    plot = PLOTS[name]
    ((path, column),) = plot["y"].items()
    assert {column, plot["x"]} <= set(TABLES[path].columns)
    assert path in PROJECT["stages"]["report"]["outs"]
    template = REPOSITORY / ".dvc" / "plots" / f"{plot['template']}.json"
    text = template.read_text(encoding="utf-8")
    assert json.loads(text)["data"] == {"values": "<DVC_METRIC_DATA>"}
    for anchor in ("X", "Y", "X_LABEL", "Y_LABEL", "TITLE"):
        assert f"<DVC_METRIC_{anchor}>" in text
    fields = {"round", "split", "low", "high", "n_images"}
    assert {field for field in fields if f'"{field}"' in text} <= set(TABLES[path].columns)


def test_every_table_of_the_report_is_drawn() -> None:
    assert {path for plot in PLOTS.values() for path in plot["y"]} == set(TABLES)
