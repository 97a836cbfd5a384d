import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from databoost.data.images import image_id, read_image
from databoost.data.lettering import NUMERALS
from databoost.data.synthetic import UNSEEN_STYLES, write_synthetic
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import TRUTH
from databoost.errors import DatasetError, ParamsError
from databoost.sections import SyntheticParams

SMALL = {
    "n_train": 90,
    "n_val": 40,
    "n_test": 25,
    "image_size": 64,
    "wrong_labels": 0.1,
    "not_numerals": 0.05,
    "leaks": 0.15,
    "unseen_styles": 0.2,
    "seed": 3,
}


def params(**changes):
    return SyntheticParams(**{**SMALL, **changes})


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "raw"
    return folder, write_synthetic(params(), folder)


def digest(folder):
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def test_the_truth_lists_exactly_the_files(drawn):
    folder, truth = drawn
    assert list(truth.columns) == list(TRUTH.columns)
    assert truth["path"].tolist() == sorted(truth["path"])
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(truth["path"]) == files
    for row in truth.itertuples():
        assert row.path.startswith(f"{row.split}/{row.label}/")
        assert row.image_id == image_id((folder / row.path).read_bytes())
        assert read_image(folder / row.path).shape[2] == 1


def test_splits_and_classes_are_balanced(drawn):
    _, truth = drawn
    assert truth["split"].value_counts().to_dict() == {"train": 90, "val": 40, "test": 25}
    counts = truth.groupby(["split", "label"]).size()
    assert set(counts["train"]) == {9}
    assert set(counts["val"]) == {4}
    assert set(counts["test"]) == {2, 3}
    assert set(truth["label"]) == set(NUMERALS)


def test_shares_are_exact_counts(drawn):
    _, truth = drawn
    counts = truth.groupby(["split", "fault"]).size().to_dict()
    assert counts == {
        ("train", ""): 90 - 6 - 9 - 4,
        ("train", "leak"): 6,
        ("train", "wrong_label"): 9,
        ("train", "not_numeral"): 4,
        ("val", ""): 40 - 6 - 4 - 2,
        ("val", "leak"): 6,
        ("val", "wrong_label"): 4,
        ("val", "not_numeral"): 2,
        ("test", ""): 25,
    }
    unseen = truth[truth["is_unseen_style"]]
    assert unseen["split"].value_counts().to_dict() == {"val": 8, "test": 5}
    assert unseen["label"].value_counts().max() <= 2


def test_faults_are_what_they_are_called(drawn):
    _, truth = drawn
    clean = truth[truth["fault"].isin(["", "leak"])]
    assert (clean["label"] == clean["true_label"]).all()
    wrong = truth[truth["fault"] == "wrong_label"]
    assert (wrong["label"] != wrong["true_label"]).all()
    assert wrong["true_label"].isin(NUMERALS).all()
    assert (truth.loc[truth["fault"] == "not_numeral", "true_label"] == "").all()
    assert (truth["style"].isin(UNSEEN_STYLES) == truth["is_unseen_style"]).all()


def test_leaks_are_the_only_equal_files_and_keep_their_label(drawn):
    _, truth = drawn
    repeated = truth[truth["image_id"].duplicated(keep=False)]
    assert set(repeated.index) == set(truth.index[truth["fault"] == "leak"])
    for _, pair in repeated.groupby("image_id"):
        assert sorted(pair["split"]) == ["train", "val"]
        assert pair["label"].nunique() == 1


def test_file_names_do_not_betray_the_fault(drawn):
    _, truth = drawn
    assert truth["path"].str.fullmatch(r"(train|val|test)/[ivx]+/[0-9]{5}\.png").all()
    train = truth[truth["split"] == "train"].sort_values(
        "path", key=lambda paths: paths.str.rsplit("/").str[-1]
    )
    faulty = (train["fault"] != "").tolist()
    assert 2 < sum(faulty[:45]) < sum(faulty) - 2
    leaks = truth[truth["fault"] == "leak"]
    names = leaks["path"].str.rsplit("/").str[-1]
    assert (names.groupby(leaks["image_id"]).nunique() == 2).mean() > 0.5


def test_same_parameters_same_bytes_in_another_folder_and_process(drawn, tmp_path):
    folder, truth = drawn
    again = tmp_path / "elsewhere" / "raw"
    script = (
        "import sys; from pathlib import Path; from databoost.params import SyntheticParams\n"
        "from databoost.data.synthetic import write_synthetic\n"
        f"truth = write_synthetic(SyntheticParams(**{SMALL!r}), Path(sys.argv[1]))\n"
        "print(truth.to_csv(index=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(again)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest(again) == digest(folder)
    assert done.stdout.strip() == truth.to_csv(index=False).strip()


def test_another_seed_draws_other_images(drawn, tmp_path):
    _, truth = drawn
    other = write_synthetic(params(seed=4, n_train=10, n_val=10, n_test=0), tmp_path / "raw")
    assert not set(other["image_id"]) & set(truth["image_id"])


def test_a_larger_split_keeps_the_images_it_shares(tmp_path):
    clean = {"wrong_labels": 0, "not_numerals": 0, "leaks": 0, "unseen_styles": 0}
    small = write_synthetic(params(n_train=10, n_val=5, n_test=0, **clean), tmp_path / "small")
    large = write_synthetic(params(n_train=20, n_val=5, n_test=5, **clean), tmp_path / "large")
    assert set(small["image_id"]) < set(large["image_id"])
    assert len(large) == 30


def test_shares_of_zero_give_a_clean_dataset(tmp_path):
    clean = {"wrong_labels": 0, "not_numerals": 0, "leaks": 0, "unseen_styles": 0}
    truth = write_synthetic(params(n_train=3, n_val=2, n_test=0, **clean), tmp_path / "raw")
    assert truth["fault"].tolist() == [""] * 5
    assert not truth["is_unseen_style"].any()
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == ["train", "val"]


def test_val_may_be_wholly_in_unseen_styles(tmp_path):
    every = params(n_train=5, n_val=12, n_test=0, leaks=0, unseen_styles=1)
    truth = write_synthetic(every, tmp_path / "raw")
    assert set(truth.loc[truth["split"] == "val", "style"]) <= set(UNSEEN_STYLES)
    assert truth.loc[truth["split"] == "val", "is_unseen_style"].all()


def test_more_faults_than_images_is_one_error_with_every_conflict(tmp_path):
    greedy = params(n_train=4, leaks=0.5, unseen_styles=0.75, wrong_labels=0.5, not_numerals=0.25)
    with pytest.raises(ParamsError, match=r"lower leaks, wrong_labels") as caught:
        write_synthetic(greedy, tmp_path / "raw")
    message = str(caught.value)
    assert "train: 20 leaks, 2 wrong labels and 1 pictures" in message
    assert "val: 20 leaks, 20 wrong labels and 10 pictures" in message
    assert "val: 20 leaks and 30 images in unseen styles are more than its 40" in message
    assert not (tmp_path / "raw").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DatasetError, match=r"already holds something; .* new or empty"):
        write_synthetic(params(), tmp_path)
    with pytest.raises(DatasetError, match=r"mine\.txt already holds something"):
        write_synthetic(params(), tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_failure_half_way_leaves_nothing_that_passes_for_whole(tmp_path, monkeypatch):
    calls = []
    written = Path.write_bytes

    def failing(path, content):
        calls.append(path)
        if len(calls) == 4:
            raise OSError("no space left")
        return written(path, content)

    folder = tmp_path / "raw"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", failing)
        with pytest.raises(OSError, match="no space left"):
            write_synthetic(params(), folder)
    assert not folder.exists()
    folder.mkdir()
    assert len(write_synthetic(params(n_train=2, n_val=2, n_test=0, leaks=0), folder)) == 4


def test_progress_is_shown_when_asked_for(tmp_path, capsys):
    few = params(n_train=2, n_val=2, n_test=0, leaks=0)
    write_synthetic(few, tmp_path / "quiet")
    assert capsys.readouterr().err == ""
    write_synthetic(few, tmp_path / "shown", progress=True)
    assert "4/4" in capsys.readouterr().err


def test_the_truth_survives_a_csv_file(drawn, tmp_path):
    _, truth = drawn
    write_table(tmp_path / "truth.csv", truth, TRUTH)
    pd.testing.assert_frame_equal(read_table(tmp_path / "truth.csv", TRUTH), truth)
