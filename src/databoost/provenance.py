"""What DVC records of how the outputs were made.

It reads a stage's inputs once more when the stage has ended, and records those. So what somebody
edits meanwhile would be taken for what the outputs were made with: a stage has to notice it.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from databoost.code import folder_digest
from databoost.data.files import sha256_of
from databoost.layout import Layout
from databoost.params import Params
from databoost.yamlfile import read_yaml

#: Stages that the first snapshot comes of.
SNAPSHOT_STAGES = ("ingest", "prepare")
#: Stages that the outputs of a round come of; `flat_params` gives their parameters.
_ONE_FOR_ALL_ROUNDS = (*SNAPSHOT_STAGES, "candidates")
_ONE_A_ROUND = ("boost", "train", "evaluate")
#: How dvc.yaml names the embedder's file among a stage's inputs.
_WEIGHTS = "${embedding.weights}"


class EditedInputs:
    """What people edit of a stage's inputs, as it is when this is made.

    That is parameters, ledgers, code and the embedder's weights; what stages write is not.

    Without a ``dvc.yaml`` that has the stage there is nothing to compare.
    """

    def __init__(self, layout: Layout, stage: str) -> None:
        self._layout = layout
        document = read_yaml(layout.pipeline) if layout.pipeline.exists() else {}
        declared = document.get("stages", {}).get(stage, {})
        declared = declared.get("do", declared)
        self._keys = [str(key) for key in declared.get("params", [])]
        ledgers = [path.relative_to(layout.root) for path in (layout.corrections, layout.control)]
        deps = {str(dep): str(dep) for dep in declared.get("deps", [])}
        if _WEIGHTS in deps:
            deps[_WEIGHTS] = str(_value(read_yaml(layout.params), "embedding.weights"))
        self._files = {
            path: layout.root / path
            for dep, path in deps.items()
            if dep == _WEIGHTS or Path(path) in ledgers or Path(path).parts[0] == "src"
        }
        self._before = self._read()

    def changed(self) -> list[str]:
        """List what is otherwise by now: ``train.epochs: 20 then, 100 now``, or a path.

        Raises
        ------
        ParamsError
            If params.yaml is no longer readable YAML.
        """
        now = self._read()
        lines = {
            line for key in self._keys for line in _differences(key, self._before[key], now[key])
        }
        return sorted(lines | {name for name in self._files if now[name] != self._before[name]})

    def _read(self) -> dict[str, Any]:
        values = read_yaml(self._layout.params)
        digests = {name: _digest(path) for name, path in self._files.items()}
        return {key: _value(values, key) for key in self._keys} | digests


def stages_of(params: Params, names: Iterable[str]) -> list[str]:
    """Name the stages of dvc.yaml that the outputs of these rounds come of."""
    scores = ["scores"] if params.boost.suspects == "skip" else []
    of_rounds = [f"{stage}@{name}" for name in names for stage in _ONE_A_ROUND]
    return [*_ONE_FOR_ALL_ROUNDS, *scores, *of_rounds]


def changed_params(layout: Layout, stages: Iterable[str]) -> list[str]:
    """List what params.yaml holds otherwise than when the outputs of stages were made.

    Parameters
    ----------
    stages
        As dvc.yaml names them: ``train@r01``.

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


def _digest(path: Path) -> str:
    if path.is_dir():
        return folder_digest(path)
    return sha256_of(path) if path.exists() else ""


def _value(document: Any, key: str) -> Any:
    for name in key.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
