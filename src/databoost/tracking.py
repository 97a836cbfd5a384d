"""The rounds in MLflow: one parent run a boost, one child run a round.

A run is found by its key, a hash of the parameters and of the output files; what is there already
stays untouched. This is the only module that imports mlflow, and only once the store is known to
answer: the import takes seconds.
"""

import hashlib
import logging
import os
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from databoost.data.files import read_json
from databoost.data.tablefiles import read_table
from databoost.data.tables import MANIFEST
from databoost.errors import TrackingError
from databoost.layout import Layout, RoundLayout
from databoost.outcomes import Outcome, attribution_files, shown_files
from databoost.params import Params
from databoost.stores import (
    artifact_folder,
    check_answers,
    environment,
    source_tags,
    tracking_uri,
)

#: Tags that runs are found by and told apart by.
KEY, ROUND, SNAPSHOT = "databoost.key", "databoost.round", "databoost.snapshot"
#: Tag of a parent run: SHA-256 of the page that is its artifact.
REPORT = "databoost.report"
#: Tag of a round's run: SHA-256 of what traces to its additions, which is made after the round.
ATTRIBUTION = "databoost.attribution"
_NOTE = (
    "The report, one page for all rounds (accuracy, failures and what was fetched for them, audit, "
    "suspects): artifact `reports/index.html`; download it to look at it in full."
)
_PARENT = "mlflow.parentRunId"
# Has MLflow's page show runs and charts, not what it shows of language models.
_TRAINING_PAGE = {"mlflow.experimentKind": "custom_model_development"}
# MLflow's limits: characters of a value and of a digest, entries of one request (1,000 in all).
_LONGEST_PARAM, _LONGEST_DIGEST = 6000, 36
_PARAMS_A_BATCH, _METRICS_A_BATCH = 100, 900
_QUIET = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
_FIRST_ANSWER = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
_LATER_ANSWERS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
# A server answers once it has stored the whole file: a checkpoint may have 100 MB.
_UPLOAD = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "600"}


def log_boost(
    layout: Layout,
    params: Params,
    outcomes: list[Outcome],
    *,
    attributed: Collection[str] = (),
    with_report: bool = False,
) -> list[str]:
    """Log rounds of one boost, r00 first, and the report if asked to; what is there stays.

    Parameters
    ----------
    attributed
        Names of rounds whose attribution is logged too, where there is one.

    Returns
    -------
    list of str
        Names of the rounds that were logged now, in order, ``attribution of r01`` where only that
        was, and ``report`` if it was.

    Raises
    ------
    TrackingError
        If the store does not answer, or holds the files of another folder. MLflow's clients, whose
        errors share no base class, raise their own besides.
    """
    uri = tracking_uri(layout)
    check_answers(uri)
    with _quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        with environment(_FIRST_ANSWER):
            found = client.get_experiment_by_name(params.tracking.experiment)
        ours = _LATER_ANSWERS.keys() - os.environ.keys()
        with environment(_LATER_ANSWERS):
            store = _Store(client, layout, params, found, ours)
            return store.log_boost(outcomes, attributed, with_report)


class _Store:
    """The runs of one project in an MLflow experiment."""

    def __init__(
        self, client: Any, layout: Layout, params: Params, found: Any, ours: Collection[str]
    ) -> None:
        self._client = client
        self._layout = layout
        self._params = params
        self._experiment = self._experiment_id(found)
        self._source = source_tags(layout.root)
        self._ours = ours

    def log_boost(
        self, outcomes: list[Outcome], attributed: Collection[str], with_report: bool
    ) -> list[str]:
        """Log what is missing of the rounds, and the report if asked to; gives their names."""
        parent, is_finished = self._parent(outcomes)
        logged = []
        for outcome in outcomes:
            name = outcome.files.name
            run, is_new = self._log_round(outcome, parent)
            is_told = name in attributed and self._log_attribution(run, outcome.files)
            if is_new or is_told:
                logged.append(name if is_new else f"attribution of {name}")
        if with_report and self._log_report(parent):
            logged.append("report")
        if self._log_progress(outcomes, parent) or logged or not is_finished:
            self._client.set_terminated(parent, "FINISHED")
        return logged

    def _experiment_id(self, found: Any) -> str:
        name = self._params.tracking.experiment
        folder = artifact_folder(self._layout)
        if found is None:
            return str(self._client.create_experiment(name, folder, _TRAINING_PAGE))
        if folder and found.artifact_location != folder:
            raise TrackingError(
                f"mlflow.db keeps the files of experiment {name!r} in {found.artifact_location}, "
                f"not in {folder}: the project was moved or copied; move mlflow.db away, and "
                "`databoost publish` fills a new one"
            )
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find(self, key: str) -> list[Any]:
        return list(self._client.search_runs([self._experiment], f"tags.`{KEY}` = '{key}'"))

    def _parent(self, outcomes: list[Outcome]) -> tuple[str, bool]:
        """Find or create the parent run; gives its id, and whether it was finished already.

        One under which another outcome of one of the rounds stands is not it: something that no
        parameter tells has changed since, the code or the embedder's file say.
        """
        first = outcomes[0]
        runs = [run for run in self._find(first.boost_key) if self._agrees(run, outcomes)]
        if runs and runs[-1].info.status == "FINISHED":
            return str(runs[-1].info.run_id), True
        if not runs:
            tags = {KEY: first.boost_key, SNAPSHOT: first.snapshot, **self._source}
            name = _name(self._params)
            runs = [self._client.create_run(self._experiment, tags=tags, run_name=name)]
        run_id = str(runs[-1].info.run_id)
        self._log(run_id, _entries(first), [])
        return run_id, False

    def _agrees(self, parent: Any, outcomes: list[Outcome]) -> bool:
        """Tell whether all finished rounds below a parent run are these, as far as both go."""
        keys = {outcome.files.name: outcome.key for outcome in outcomes}
        below = f"tags.`{_PARENT}` = '{parent.info.run_id}'"
        return all(
            run.data.tags[KEY] == keys.get(run.data.tags[ROUND], run.data.tags[KEY])
            for run in self._client.search_runs([self._experiment], below)
            if run.info.status == "FINISHED"
        )

    def _log_round(self, outcome: Outcome, parent: str) -> tuple[Any, bool]:
        """Log a round unless it is there; gives its run, and whether it was missing."""
        for run in self._find(outcome.key):
            if run.data.tags.get(_PARENT) == parent:
                if run.info.status == "FINISHED":
                    return run, False
                self._client.delete_run(run.info.run_id)  # a publish that was killed left it
        tags = {
            KEY: outcome.key,
            ROUND: outcome.files.name,
            SNAPSHOT: outcome.snapshot,
            _PARENT: parent,
            **({"databoost.stop": outcome.stop} if outcome.stop else {}),
            **self._source,
        }
        created = self._client.create_run(self._experiment, tags=tags, run_name=outcome.files.name)
        run_id = str(created.info.run_id)
        told = [*_metrics(outcome.metrics, 0), *_curve(outcome.curve)]
        self._log(run_id, _entries(outcome), told)
        self._client.log_inputs(run_id, datasets=[_dataset(outcome, self._layout)])
        for path in shown_files(outcome.files):
            self._upload(run_id, path)
        self._client.set_terminated(run_id, "FINISHED")
        return created, True

    def _log_attribution(self, run: Any, files: RoundLayout) -> bool:
        """Log a round's attribution unless the same one is there; gives whether it was missing."""
        paths, run_id = attribution_files(files), str(run.info.run_id)
        digest = hashlib.sha256(b"\n".join(path.read_bytes() for path in paths)).hexdigest()
        if not paths or run.data.tags.get(ATTRIBUTION) == digest:
            return False
        for path in paths:
            self._upload(run_id, path, files.attribution.name)
        counts = read_json(files.attribution_metrics)
        values = {f"{files.attribution.name}/{name}": float(n) for name, n in counts.items()}
        self._log(run_id, [], _metrics(values, 0))
        # Last, so that one that was cut short is logged again.
        self._client.set_tag(run_id, ATTRIBUTION, digest)
        return True

    def _log_report(self, parent: str) -> bool:
        """Log the report unless the same one is there; gives whether it was missing."""
        digest = hashlib.sha256(self._layout.report.read_bytes()).hexdigest()
        if self._client.get_run(parent).data.tags.get(REPORT) == digest:
            return False
        self._upload(parent, self._layout.report, self._layout.reports.name)
        self._client.set_tag(parent, "mlflow.note.content", _NOTE)
        # Last, so that a report that was cut short is logged again.
        self._client.set_tag(parent, REPORT, digest)
        return True

    def _log_progress(self, outcomes: list[Outcome], parent: str) -> bool:
        """Bring the parent's curves over rounds up to date; gives whether anything was missing."""
        new: list[Any] = []
        histories: dict[str, dict[int, float]] = {}
        for outcome in outcomes:
            for name, value in outcome.progress.items():
                if name not in histories:
                    history = self._client.get_metric_history(parent, name)
                    points = sorted(history, key=lambda point: int(point.timestamp))
                    histories[name] = {point.step: point.value for point in points}
                if histories[name].get(outcome.step) != value:
                    new += _metrics({name: value}, outcome.step)
        self._log(parent, [], new)
        return bool(new)

    def _upload(self, run_id: str, path: Path, folder: str | None = None) -> None:
        with environment(_UPLOAD, over=self._ours):
            self._client.log_artifact(run_id, str(path), folder)

    def _log(self, run_id: str, params: list[Any], metrics: list[Any]) -> None:
        for start in range(0, len(params), _PARAMS_A_BATCH):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_A_BATCH])
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_BATCH])


def _name(params: Params) -> str:
    """Name a boost by its strategy and what sets the number of additions."""
    boost = params.boost
    n = f"{boost.additions} a round" if boost.additions else f"{boost.neighbors}"
    return f"{params.tracking.boost} {boost.strategy}{'' if boost.strategy == 'none' else f' {n}'}"


def _entries(outcome: Outcome) -> list[Any]:
    from mlflow.entities import Param

    return [Param(key, value[:_LONGEST_PARAM]) for key, value in outcome.settings.items()]


def _metrics(values: dict[str, float], step: int) -> list[Any]:
    from mlflow.entities import Metric

    now = time.time_ns() // 1_000_000
    return [Metric(name, value, now, step) for name, value in values.items()]


def _curve(curve: pd.DataFrame) -> list[Any]:
    points = []
    for row in curve.to_dict("records"):
        epoch = int(row.pop("epoch"))
        values = {f"curve/{name}": float(value) for name, value in row.items() if pd.notna(value)}
        points += _metrics(values, epoch)
    return points


def _dataset(outcome: Outcome, layout: Layout) -> Any:
    from mlflow.data import from_pandas
    from mlflow.entities import DatasetInput, InputTag

    manifest = outcome.files.manifest
    dataset = from_pandas(
        read_table(manifest, MANIFEST),
        source=_relative(manifest, layout.root),
        name=outcome.files.name,
        digest=outcome.snapshot[:_LONGEST_DIGEST],
    )
    # What the dataset hands to MLflow's fluent functions, which would act on global state.
    entity = dataset._to_mlflow_entity()
    return DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])


def _relative(path: Path, root: Path) -> str:
    """Name a file from the project's folder; a study's may lie outside it."""
    # Links are not followed: DVC may link outputs to its cache.
    return Path(os.path.relpath(path, root)).as_posix()


@contextmanager
def _quiet_mlflow() -> Iterator[None]:
    """Keep MLflow from logging, warning and reporting its use for the length of the block."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with environment(_QUIET), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
