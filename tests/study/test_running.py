"""A study's folder belongs to one command at a time."""

import fcntl
from pathlib import Path

import pytest
from handmade_rounds import declared

from databoost.errors import DataboostError
from databoost.layout import Layout
from databoost.study.plan import Study
from databoost.study.running import run_study


def test_two_studies_do_not_work_in_one_folder(tmp_path: Path) -> None:
    study = Study.model_validate({"rounds": 1, "additions": 1, "seeds": [0], "arms": {"a": {}}})
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataboostError, match="another databoost study works in"):
            run_study(Layout(tmp_path), declared(), study, tmp_path, 1)
