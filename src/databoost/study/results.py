"""What the finished rounds of a study say, as tables; they are rewritten as rounds finish."""

from collections.abc import Iterable, Mapping

import pandas as pd

from databoost.attribution import FIXED, NEWLY_WRONG, failure_outcomes
from databoost.data.files import read_json
from databoost.data.tablefiles import read_table, write_table
from databoost.data.tables import LATE, SHEET, STUDY_ARMS, STUDY_ROUNDS, VERDICTS
from databoost.layout import RoundLayout
from databoost.study.jobs import Chain, Job
from databoost.study.places import StudyPlaces
from databoost.study.verdicts import MEASURES, Correct, arm_rows, verdict_rows

#: Columns of the verdicts that are printed.
_SHOWN = [
    "arm", "other_arm", "measure", "n_seeds", "n_train", "other_n_train", "is_equal_size",
    "difference", "low", "high", "is_more_than_noise",
]  # fmt: skip


class Results:
    """The rounds of a study's chains, each read once.

    Parameters
    ----------
    chains
        Arm by arm, the seeds of each in order.
    """

    def __init__(self, chains: Iterable[Chain]) -> None:
        self.chains = list(chains)
        self._rows: dict[tuple[str, int, str], dict[str, object]] = {}
        self._correct: dict[tuple[str, int, str], dict[str, Correct]] = {}

    def look(self) -> list[str]:
        """Read what has been finished since; gives a line for a person about each new round."""
        told = []
        for chain in self.chains:
            for job in chain.jobs:
                key = (job.arm, job.seed, job.round)
                if key in self._rows:
                    continue
                if not job.is_done():
                    break
                self._rows[key], self._correct[key] = _read(job)
                told.append(_line(self._rows[key], len(self._rows), self.n_rounds))
        return told

    @property
    def n_rounds(self) -> int:
        """Rounds that there are when all is done."""
        return sum(len(chain.jobs) for chain in self.chains)

    def rounds(self) -> pd.DataFrame:
        """Give ``STUDY_ROUNDS``: by arm, seed and round."""
        rows = [self._rows[job.arm, job.seed, job.round] for job in self._finished()]
        return STUDY_ROUNDS.frame(
            {column: [row[column] for row in rows] for column in STUDY_ROUNDS.columns}
        )

    def correct(
        self, measure: str = MEASURES[0]
    ) -> Mapping[tuple[str, str], Mapping[int, Correct]]:
        """Say for (arm, round), by seed, which test images are right; in the order of the arms."""
        found: dict[tuple[str, str], dict[int, Correct]] = {}
        for job in self._finished():
            is_correct = self._correct[job.arm, job.seed, job.round][measure]
            found.setdefault((job.arm, job.round), {})[job.seed] = is_correct
        return found

    def _finished(self) -> list[Job]:
        """List the jobs that were read, in the order of the chains, not in that of their ends."""
        return [
            job
            for chain in self.chains
            for job in chain.jobs
            if (job.arm, job.seed, job.round) in self._rows
        ]

    def write_rounds(self, places: StudyPlaces) -> None:
        """Write ``STUDY_ROUNDS``: of what is finished, as soon as it is."""
        write_table(places.rounds, self.rounds(), STUDY_ROUNDS)

    def write(self, places: StudyPlaces) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Write all tables; gives ``STUDY_ARMS`` and ``VERDICTS``.

        As long as no round is finished, tables that are there stay as they are.
        """
        rounds = self.rounds()
        arms, verdicts = (
            pd.concat(
                [rows(rounds, self.correct(name), name) for name in MEASURES], ignore_index=True
            )
            for rows in (arm_rows, verdict_rows)
        )
        if rounds.empty and places.rounds.exists():
            return arms, verdicts
        self.write_rounds(places)
        write_table(places.arms, arms, STUDY_ARMS)
        write_table(places.verdicts, verdicts, VERDICTS)
        return arms, verdicts


def shown_tables(arms: pd.DataFrame, verdicts: pd.DataFrame) -> str:
    """Write the last round's arms and verdicts as text, the best arm first."""
    last = arms["round"].max()
    best = arms[arms["round"] == last].drop(columns="round")
    best = best.sort_values("test_accuracy", ascending=False, kind="stable")
    best = best.sort_values("measure", kind="stable")
    text = [
        f"{last}: test accuracy with its 95% interval over seeds and images (of one seed over "
        "images alone); of the epoch that is kept, and the mean over late ones",
        _text(best),
    ]
    pairs = verdicts[verdicts["round"] == last]
    if len(pairs):
        text += ["", f"{last}: paired differences of test accuracy", _text(pairs[_SHOWN])]
        n_last, n_all = (int((rows["measure"] == MEASURES[0]).sum()) for rows in (pairs, verdicts))
        text += [
            f"{n_last} comparison(s) in {last}, {n_all} in all rounds, by either measure: of 20 "
            "between arms that do not differ, at most 1 is expected to look like more than noise"
        ]
        if not pairs["is_equal_size"].all():
            text += ["arms of unequal size may differ by their size alone"]
    return "\n".join(text)


def _text(table: pd.DataFrame) -> str:
    sizes = {name: "{:,.1f}".format for name in ("n_train", "other_n_train") if name in table}
    return table.to_string(index=False, formatters=sizes, float_format="{:.3f}".format, na_rep="-")


def _read(job: Job) -> tuple[dict[str, object], dict[str, Correct]]:
    here = job.layout.round(job.round)
    late = read_table(here.late, LATE).set_index("image_id")
    late["share"] = late["n_right"] / late["n_epochs"]
    sheet = read_table(here.sheet, SHEET)
    test = sheet[sheet["split"] == "test"].set_index("image_id").sort_index()
    metrics = read_json(here.metrics)
    n_fixed = n_broken = n_added = n_lacking = 0
    stop = ""
    if job.kind == "round":
        before = job.layout.round(job.params.boosts[job.round].previous)
        n_fixed, n_broken = _changes(before, here, sheet)
        boost = read_json(here.boost)
        n_added, stop = int(boost["n_additions"]), boost["stop"] or ""
        is_none = job.params.boost.strategy == "none"
        n_lacking = 0 if is_none else job.params.boost.additions - n_added
    row = {
        "arm": job.arm,
        "seed": job.seed,
        "round": job.round,
        "n_train": metrics["size"]["n_train"],
        "n_added": n_added,
        "n_lacking": n_lacking,
        "stop": stop,
        "best_epoch": read_json(here.model_metrics)["best_epoch"],
        **{
            f"{split}_accuracy": metrics[split]["accuracy"] if split in metrics else float("nan")
            for split in ("val", "test", "label_book")
        },
        **{
            f"late_{split}_accuracy": round(float(late["share"][late["split"] == split].mean()), 6)
            for split in ("val", "test")
        },
        "n_failures_fixed": n_fixed,
        "n_images_broken": n_broken,
    }
    of_test = late["share"][late["split"] == "test"].sort_index()
    return row, dict(zip(MEASURES, (~test["is_misclassified"], of_test), strict=True))


def _changes(before: RoundLayout, here: RoundLayout, sheet: pd.DataFrame) -> tuple[int, int]:
    earlier = read_table(before.sheet, SHEET)
    outcomes = failure_outcomes(before.name, here.name, earlier, sheet)["outcome"]
    return int((outcomes == FIXED).sum()), int((outcomes == NEWLY_WRONG).sum())


def _line(row: Mapping[str, object], n_done: int, n_all: int) -> str:
    lacking = f", {row['n_lacking']} fewer than wanted" if row["n_lacking"] else ""
    return (
        f"[{n_done}/{n_all}] {row['arm']}, seed {row['seed']}, {row['round']}: {row['n_train']} "
        f"images{lacking}, val {row['val_accuracy']:.3f}, test {row['test_accuracy']:.3f}"
    )
