"""Rounds and report go to MLflow: after a stage, where nothing may fail for it, or when asked.

All that is logged is read from DVC's outputs, so :func:`publish` fills an empty store from a
checkout of the data. Nothing is logged under parameters that it was not made with: somebody may
edit params.yaml for the next run while this one goes on.
"""

import sys
from collections.abc import Collection

from databoost.errors import DatasetError, ParamsError, TrackingError, listed
from databoost.layout import Layout
from databoost.outcomes import Outcome, need_complete, read_outcomes
from databoost.params import Params, round_number
from databoost.provenance import changed_params, stages_of
from databoost.stores import forget_warning, in_one_line, shown_uri, tracking_uri, warn_once
from databoost.tracking import log_boost


def publish_round(
    layout: Layout, params: Params, name: str, *, with_attribution: bool = False
) -> bool:
    """Log the round `name`, and earlier ones that this boost lacks; never fails for MLflow's sake.

    If the store is unreachable or fails, one warning goes to stderr, and none again from the same
    process group (the same ``dvc repro``) about the same store until that store has answered. If
    the rounds were made with other parameters than params.yaml holds, a warning says which.

    Parameters
    ----------
    with_attribution
        Whether what traces to the round's additions is logged too. Right after ``evaluate`` it is
        still that of an earlier evaluation.

    Returns
    -------
    bool
        Whether the store now holds the round.

    Raises
    ------
    DatasetError
        If an output of the round, or of r00, is missing.
    ParamsError
        If params.yaml or dvc.lock is not readable YAML.
    """
    need_complete(layout, {"r00", name})
    names = [other for other in params.rounds if round_number(other) <= round_number(name)]
    outcomes = read_outcomes(layout, params, names)
    # What is recorded of a stage that still runs is its last run.
    running = "" if with_attribution else f"evaluate@{name}"
    if not _is_as_made(layout, params, names, running):
        return False
    attributed = [name] if with_attribution else []
    return publish_outcomes(layout, params, outcomes, attributed=attributed)


def publish_outcomes(
    layout: Layout,
    params: Params,
    outcomes: list[Outcome],
    command: str = "databoost publish",
    *,
    attributed: Collection[str] = (),
) -> bool:
    """Log rounds of one boost, r00 first, wherever they lie; never fails for MLflow's sake.

    Parameters
    ----------
    layout
        The project whose store it is.
    command
        What logs them later, for the warning.
    attributed
        Names of rounds whose attribution is logged too, where there is one.

    Returns
    -------
    bool
        Whether the store now holds the rounds.
    """
    uri = tracking_uri(layout)
    try:
        log_boost(layout, params, outcomes, attributed=attributed)
    except Exception as error:  # MLflow's clients raise their own, SQLAlchemy's, requests' errors
        warn_once(layout, uri, error, command)
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
    ParamsError
        If params.yaml or dvc.lock is not readable YAML.
    """
    need_complete(layout, params.rounds)
    if not layout.report.exists():
        raise DatasetError(f"{layout.report} is missing; `dvc repro report` makes it")
    if not _is_as_made(layout, params, params.rounds):
        return False
    outcomes = read_outcomes(layout, params, params.rounds)
    uri = tracking_uri(layout)
    try:
        log_boost(layout, params, outcomes, attributed=params.rounds, with_report=True)
    except Exception as error:  # see publish_round
        warn_once(layout, uri, error)
        return False
    forget_warning(layout)
    return True


def publish(layout: Layout, params: Params) -> list[str]:
    """Log every complete round, its attribution and the report; doing it twice changes nothing.

    Returns
    -------
    list of str
        Names of the rounds that were logged now, in order, ``attribution of r01`` where only that
        was, and ``report`` if it was; what was found is left out.

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
    changes = changed_params(layout, stages_of(params, params.rounds))
    if changes:
        raise ParamsError(
            "the outputs were made with other parameters than params.yaml holds; `dvc repro` makes "
            f"them anew, or restore the parameters:{listed(changes)}"
        )
    outcomes = read_outcomes(layout, params, params.rounds)
    try:
        return log_boost(
            layout,
            params,
            outcomes,
            attributed=params.rounds,
            with_report=layout.report.exists(),
        )
    except TrackingError:
        raise
    except Exception as error:  # see publish_round
        uri = shown_uri(tracking_uri(layout))
        raise TrackingError(
            f"MLflow at {uri} failed: {in_one_line(error)}; `databoost publish` once more goes on "
            "from here"
        ) from error


def _is_as_made(layout: Layout, params: Params, names: Collection[str], running: str = "") -> bool:
    stages = [stage for stage in stages_of(params, names) if stage != running]
    changes = changed_params(layout, stages)
    if changes:
        print(
            "warning: not logged to MLflow: params.yaml holds other values than the rounds were "
            f"made with ({', '.join(changes)}). Nothing is lost: restore them, or `dvc repro`, and "
            "`databoost publish` logs every round",
            file=sys.stderr,
        )
    return not changes
