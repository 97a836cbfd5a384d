"""How far trainings agree on the images that they get wrong.

    python benchmarks/shared_errors.py .databoost/studies/limit*/jobs/*/data/rounds/r01/*/sheet.csv

Reads image sheets, of models that saw the same held-out images; prints how many images of a split
each gets wrong, how many all of them do, and how many one or another does.
"""

import argparse
from pathlib import Path

import pandas as pd

from databoost.data.tablefiles import read_table
from databoost.data.tables import SHEET


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sheets", type=Path, nargs="+")
    parser.add_argument("--split", default="test")
    given = parser.parse_args()
    wrong = {}
    for path in given.sheets:
        sheet = read_table(path, SHEET)
        rows = sheet[sheet["split"] == given.split].set_index("image_id")
        wrong[str(path)] = rows["is_misclassified"].astype(bool)
        print(f"{wrong[str(path)].sum():5} of {len(rows)} wrong: {path}")
    table = pd.DataFrame(wrong)
    n_all, n_any = table.all(axis=1).sum(), table.any(axis=1).sum()
    print(f"{n_all:5} for all {len(wrong)}, {n_any} for one or another")


if __name__ == "__main__":
    main()
