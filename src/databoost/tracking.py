"""The rounds in MLflow: one parent run a boost, one child run a round.

All that is logged is read from DVC's outputs, so :func:`publish` fills an empty store from a
checkout of the data. A run is found by its key, a hash of the parameters and of the output files;
what is there already stays untouched. This is the only module that imports mlflow, and only once
the store is known to answer: the import takes seconds.
"""

import hashlib
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from databoost.data.tables import MANIFEST, read_table
from databoost.errors import DatasetError, ParamsError, TrackingError, listed
from databoost.layout import Layout
from databoost.outcomes import Outcome, flat_params, need_complete, read_outcomes, shown_files
from databoost.params import Params, round_number
from databoost.provenance import changed_params
from databoost.stores import (
    artifact_folder,
    check_answers,
    environment,
    forget_warning,
    in_one_line,
    shown_uri,
    source_tags,
    tracking_uri,
    warn_once,
)

#: Tags that runs are found by and told apart by.
KEY, ROUND, SNAPSHOT = "databoost.key", "databoost.round", "databoost.snapshot"
#: Tag of a parent run: SHA-256 of the page that is its artifact.
REPORT = "databoost.report"
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


def publish_round(layout: Layout, params: Params, name: str) -> bool:
    """Log the round `name`, and earlier ones that this boost lacks; never fails for MLflow's sake.

    If the store is unreachable or fails, one warning goes to stderr, and none again from the same
    process group (the same ``dvc repro``) about the same store until that store has answered.

    Returns
    -------
    bool
        Whether the store now holds the round.

    Raises
    ------
    DatasetError
        If an output of the round, or of r00, is missing.
    """
    need_complete(layout, {"r00", name})
    names = [other for other in params.rounds if round_number(other) <= round_number(name)]
    outcomes = read_outcomes(layout, params, names)
    uri = tracking_uri(layout)
    try:
        _publish(layout, params, outcomes)
    except Exception as error:  # MLflow's clients raise their own, SQLAlchemy's, requests' errors
        warn_once(layout, uri, error)
        return False
    forget_warning(layout)
    return True


def publish_report(layout: Layout, params: Params) -> bool:
    """Log the report to the parent run, with the rounds it lacks; never fails for MLflow's sake.

    Warns as :func:`publish_round` does. A report that is there already stays untouched.

    Returns
    -------
    bool
        Whether the store now holds the report.

    Raises
    ------
    DatasetError
        If an output of a declared round, or the report, is missing.
    """
    need_complete(layout, params.rounds)
    if not layout.report.exists():
        raise DatasetError(f"{layout.report} is missing; `dvc repro report` makes it")
    outcomes = read_outcomes(layout, params, params.rounds)
    uri = tracking_uri(layout)
    try:
        _publish(layout, params, outcomes, with_report=True)
    except Exception as error:  # see publish_round
        warn_once(layout, uri, error)
        return False
    forget_warning(layout)
    return True


def publish(layout: Layout, params: Params) -> list[str]:
    """Log every complete round and the report; doing it twice changes nothing.

    Returns
    -------
    list of str
        Names of the rounds that were logged now, in order, and ``report`` if it was; those found
        are left out.

    Raises
    ------
    DatasetError
        If an output of r00 is missing: every boost starts from it.
    ParamsError
        If params.yaml holds other values than the outputs were made with: they would be logged as
        what they are not.
    TrackingError
        If the store does not answer, or fails.
    """
    need_complete(layout, {"r00"})
    changes = changed_params(layout, params.rounds)
    if changes:
        raise ParamsError(
            "the outputs were made with other parameters than params.yaml holds; `dvc repro` makes "
            f"them anew, or restore the parameters:{listed(changes)}"
        )
    outcomes = read_outcomes(layout, params, params.rounds)
    try:
        return _publish(layout, params, outcomes, with_report=layout.report.exists())
    except TrackingError:
        raise
    except Exception as error:  # see publish_round
        uri = shown_uri(tracking_uri(layout))
        raise TrackingError(
            f"MLflow at {uri} failed: {in_one_line(error)}; `databoost publish` once more goes on "
            "from here"
        ) from error


def _publish(
    layout: Layout, params: Params, outcomes: list[Outcome], *, with_report: bool = False
) -> list[str]:
    uri = tracking_uri(layout)
    check_answers(uri)
    with _quiet_mlflow():
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        with environment(_FIRST_ANSWER):
            found = client.get_experiment_by_name(params.tracking.experiment)
        with environment(_LATER_ANSWERS):
            return _Store(client, layout, params, found).log_boost(outcomes, with_report)


class _Store:
    """The runs of one project in an MLflow experiment."""

    def __init__(self, client: Any, layout: Layout, params: Params, found: Any) -> None:
        self._client = client
        self._layout = layout
        self._params = params
        self._experiment = self._experiment_id(found)
        self._source = source_tags(layout.root)

    def log_boost(self, outcomes: list[Outcome], with_report: bool) -> list[str]:
        """Log the rounds that are missing, and the report if asked to; gives their names."""
        parent, is_finished = self._parent(outcomes[0])
        logged = [outcome.files.name for outcome in outcomes if self._log_round(outcome, parent)]
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

    def _parent(self, first: Outcome) -> tuple[str, bool]:
        """Find or create the parent run; gives its id, and whether it was finished already."""
        runs = self._find(first.boost_key)
        if runs and runs[-1].info.status == "FINISHED":
            return str(runs[-1].info.run_id), True
        if not runs:
            tags = {KEY: first.boost_key, SNAPSHOT: first.snapshot, **self._source}
            boost = self._params.boost
            name = f"{self._params.tracking.boost} {boost.strategy} {boost.neighbors}"
            runs = [self._client.create_run(self._experiment, tags=tags, run_name=name)]
        run_id = str(runs[-1].info.run_id)
        self._log(run_id, self._entries(), [])
        return run_id, False

    def _log_round(self, outcome: Outcome, parent: str) -> bool:
        """Log a round unless it is there; gives whether it was missing."""
        for run in self._find(outcome.key):
            if run.data.tags.get(_PARENT) == parent:
                if run.info.status == "FINISHED":
                    return False
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
        self._log(run_id, self._entries(), [*_metrics(outcome.metrics, 0), *_curve(outcome.curve)])
        self._client.log_inputs(run_id, datasets=[_dataset(outcome, self._layout)])
        for path in shown_files(outcome.files):
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, "FINISHED")
        return True

    def _log_report(self, parent: str) -> bool:
        """Log the report unless the same one is there; gives whether it was missing."""
        digest = hashlib.sha256(self._layout.report.read_bytes()).hexdigest()
        if self._client.get_run(parent).data.tags.get(REPORT) == digest:
            return False
        self._client.log_artifact(parent, str(self._layout.report), self._layout.reports.name)
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
                # A round that was made anew under the same parent has its point logged again.
                if histories[name].get(outcome.step) != value:
                    new += _metrics({name: value}, outcome.step)
        self._log(parent, [], new)
        return bool(new)

    def _entries(self) -> list[Any]:
        from mlflow.entities import Param

        settings = flat_params(self._params)
        return [Param(key, value[:_LONGEST_PARAM]) for key, value in settings.items()]

    def _log(self, run_id: str, params: list[Any], metrics: list[Any]) -> None:
        for start in range(0, len(params), _PARAMS_A_BATCH):
            self._client.log_batch(run_id, params=params[start : start + _PARAMS_A_BATCH])
        for start in range(0, len(metrics), _METRICS_A_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_BATCH])


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
        source=manifest.relative_to(layout.root).as_posix(),
        name=outcome.files.name,
        digest=outcome.snapshot[:_LONGEST_DIGEST],
    )
    # What the dataset hands to MLflow's fluent functions, which would act on global state.
    entity = dataset._to_mlflow_entity()
    return DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])


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
