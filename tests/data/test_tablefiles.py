"""Tables: what is written, what is read back, and what is refused."""

import inspect
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from databoost.data import tables
from databoost.data.tablefiles import read_recipes, read_table, write_recipes, write_table
from databoost.data.tables import CLASSES, CURVE, RECIPES, UNREADABLE, Table
from databoost.errors import TableError

MIXED = Table(
    "mixed", {"name": "text", "n_bytes": "integer", "share": "number", "is_good": "truth"}
)


def mixed(names: list[str]) -> pd.DataFrame:
    n = len(names)
    return MIXED.frame(
        {
            "name": names,
            "n_bytes": list(range(n)),
            "share": [math.nan if row % 2 else row / 3 for row in range(n)],
            "is_good": [row % 2 == 0 for row in range(n)],
        }
    )


def read_text(path: Path, text: str | bytes, table: Table) -> pd.DataFrame:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, table)


def test_a_frame_has_the_declared_order_and_dtypes() -> None:
    frame = MIXED.frame({"is_good": [True], "share": [1], "n_bytes": [2], "name": ["a"]})
    assert list(frame.columns) == ["name", "n_bytes", "share", "is_good"]
    assert [str(dtype) for dtype in frame.dtypes] == ["object", "int64", "float64", "bool"]
    assert list(MIXED.empty().dtypes) == list(frame.dtypes)
    assert len(MIXED.empty()) == 0


def test_other_columns_are_refused() -> None:
    message = r"mixed has columns \['name', 'n_bytes', 'share', 'is_good'\], not \['name', 'size'\]"
    with pytest.raises(TableError, match=message):
        MIXED.frame({"name": [], "size": []})


def test_every_table_can_be_empty_on_disk(tmp_path: Path) -> None:
    declared = [table for _, table in inspect.getmembers(tables) if isinstance(table, Table)]
    assert len(declared) >= 10
    for table in declared:
        path = tmp_path / f"{table.name}.csv"
        write_table(path, table.empty(), table)
        assert path.read_text(encoding="utf-8") == ",".join(table.columns) + "\n"
        pd.testing.assert_frame_equal(read_table(path, table), table.empty())


def test_the_written_text_is_known(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "mixed.csv"
    write_table(path, mixed(["a", "b, c"])[["share", "name", "is_good", "n_bytes"]], MIXED)
    assert path.read_bytes() == b'name,n_bytes,share,is_good\na,0,0.0,True\n"b, c",1,,False\n'
    assert [file.name for file in path.parent.iterdir()] == ["mixed.csv"]


def test_numbers_keep_every_bit(tmp_path: Path) -> None:
    values = [0.1 + 0.2, 1e-320, 1 / 3, -0.0, 1e300, float(np.float32(0.1)), math.inf]
    frame = pd.DataFrame(dict.fromkeys(CURVE.columns, values)).assign(epoch=range(len(values)))
    write_table(tmp_path / "curve.csv", frame, CURVE)
    back = read_table(tmp_path / "curve.csv", CURVE)["val_loss"].to_numpy()
    assert back.tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize(
    "name",
    ["", " a ", "a,b", 'a"b', '"', "a\nb", "a\r\nb", "Icon\r", "NA", "null", "007", "é", "\ufeffa"],
)
def test_any_text_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    frame = mixed([name, "second"])
    write_table(tmp_path / "mixed.csv", frame, MIXED)
    pd.testing.assert_frame_equal(read_table(tmp_path / "mixed.csv", MIXED), frame)


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    write_table(path, mixed(["a"]), MIXED)
    before = path.read_bytes()
    with pytest.raises(TableError, match="mixed has columns"):
        write_table(path, mixed(["b"]).drop(columns="share"), MIXED)
    assert path.read_bytes() == before


def test_what_spreadsheet_programs_leave_behind_is_accepted(tmp_path: Path) -> None:
    text = "\ufeffnote, n_bytes,path ,reason\r\n,3,b.png,cut short\r\n,,,\r\n\r\nx,4,a.png,\r\n"
    frame = read_text(tmp_path / "table.csv", text, UNREADABLE)
    expected = {"path": ["b.png", "a.png"], "n_bytes": [3, 4], "reason": ["cut short", ""]}
    assert frame.to_dict("list") == expected
    assert list(frame.columns) == list(UNREADABLE.columns)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"table\.csv lacks column label; classes has label"),
        ("name\na\n", r"table\.csv lacks column label; classes has label"),
        (
            "a;label\n",
            "; classes has label; the separator must be a comma, not a semicolon or a tab$",
        ),
        (
            "a\tlabel\n",
            "; classes has label; the separator must be a comma, not a semicolon or a t",
        ),
        ("a;b,c\n", "; classes has label$"),
        (b"label\n\xe9\n", r"table\.csv is not a readable CSV in UTF-8: .* can't decode byte 0xe9"),
        ("label\n".encode("utf-16"), "is not a readable CSV in UTF-8"),
        ('label\n"a"b\n', "is not a readable CSV in UTF-8: ',' expected after '\"'"),
        ('label\n"a\n', "is not a readable CSV in UTF-8: unexpected end of data"),
        ("label\n" + "a" * 200_000, "is not a readable CSV in UTF-8: field larger than"),
        ("label\na\nb,c\n\nd,e,f\n", r"2 bad row.*\n  - row 3: 2 cells, the header has 1\n.*row 5"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(TableError, match=message):
        read_text(tmp_path / "table.csv", text, CLASSES)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"table\.csv does not exist"):
        read_table(tmp_path / "table.csv", CLASSES)
    with pytest.raises(TableError, match="is not a readable CSV"):
        read_table(tmp_path, CLASSES)


def test_all_bad_cells_are_listed_with_the_rows_that_a_person_sees(tmp_path: Path) -> None:
    text = "name,n_bytes,share,is_good\n\na,1.5,x,true\nb,1,,True\nc,99999999999999999999,1,False\n"
    with pytest.raises(TableError) as caught:
        read_text(tmp_path / "mixed.csv", text, MIXED)
    assert str(caught.value).split("\n  - ") == [
        f"{tmp_path / 'mixed.csv'} has 4 bad row(s) or cell(s):",
        "row 3, n_bytes: '1.5' is no integer",
        "row 5, n_bytes: '99999999999999999999' is no integer",
        "row 3, share: 'x' is no number",
        "row 3, is_good: 'true' is no truth",
    ]


def test_a_long_list_of_bad_cells_is_cut(tmp_path: Path) -> None:
    text = "name,n_bytes,share,is_good\n" + "a,x,,True\n" * 55
    with pytest.raises(TableError, match=r"has 55 bad row\(s\) or cell\(s\)") as caught:
        read_text(tmp_path / "mixed.csv", text, MIXED)
    lines = str(caught.value).splitlines()
    assert len(lines) == 52
    assert lines[-1] == "  - and 5 more"


def recipes(n: int) -> pd.DataFrame:
    return RECIPES.frame(
        {
            "candidate_id": list(range(n)),
            "parent_id": ["e3b0c44298fc1c14"] * n,
            "label": ["iv"] * n,
            "seed": [-(2**63) + row for row in range(n)],
            "policy": ["1"] * n,
        }
    )


def test_recipes_come_back_and_are_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_recipes(tmp_path / name / "recipes.parquet", recipes(1000))
    pd.testing.assert_frame_equal(read_recipes(tmp_path / "a" / "recipes.parquet"), recipes(1000))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert files[0].read_bytes() == files[1].read_bytes()


def test_no_recipes_are_a_table_too(tmp_path: Path) -> None:
    write_recipes(tmp_path / "recipes.parquet", RECIPES.empty())
    pd.testing.assert_frame_equal(read_recipes(tmp_path / "recipes.parquet"), RECIPES.empty())


def test_damaged_recipes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipes.parquet"
    with pytest.raises(TableError, match="does not exist; the candidates stage writes it"):
        read_recipes(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(TableError, match="is no readable table of recipes: "):
        read_recipes(path)
    pd.DataFrame({"seed": [1]}).to_parquet(path)
    with pytest.raises(TableError, match="is no readable table of recipes: "):
        read_recipes(path)
    recipes(1).assign(seed="many").to_parquet(path)
    with pytest.raises(TableError, match="is no readable table of recipes: "):
        read_recipes(path)
    with pytest.raises(TableError, match="recipes has columns"):
        write_recipes(path, recipes(1).drop(columns="seed"))
