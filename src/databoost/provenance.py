"""What DVC has recorded of how the outputs were made, read from ``dvc.lock``."""

from collections.abc import Iterable, Iterator
from typing import Any

from databoost.layout import Layout
from databoost.yamlfile import read_yaml

#: Stages that the outputs of a round come of; `flat_params` gives their parameters.
_ONE_FOR_ALL_ROUNDS = ("ingest", "prepare", "candidates")
_ONE_A_ROUND = ("boost", "train", "evaluate")


def changed_params(layout: Layout, names: Iterable[str]) -> list[str]:
    """List what params.yaml holds otherwise than when the outputs of rounds were made.

    Parameters
    ----------
    names
        Rounds.

    Returns
    -------
    list of str
        ``train.epochs: 100 then, 20 now`` and the like, sorted. Empty if nothing differs, and if
        DVC has recorded nothing because the stages were run without it.

    Raises
    ------
    ParamsError
        If params.yaml or dvc.lock is not readable YAML.
    """
    if not layout.lock.exists():
        return []
    recorded = (read_yaml(layout.lock) or {}).get("stages", {})
    values = read_yaml(layout.params)
    stages = [
        *_ONE_FOR_ALL_ROUNDS,
        *(f"{stage}@{name}" for name in names for stage in _ONE_A_ROUND),
    ]
    differences = {
        line
        for stage in stages
        for key, then in recorded.get(stage, {}).get("params", {}).get("params.yaml", {}).items()
        for line in _differences(key, then, _value(values, key))
    }
    return sorted(differences)


def _differences(key: str, then: Any, now: Any) -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in {**then, **now}:
            yield from _differences(f"{key}.{name}", then.get(name), now.get(name))
    elif then != now:
        yield f"{key}: {then} then, {now} now"


def _value(document: Any, key: str) -> Any:
    for name in key.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
