"""What a study has to do: jobs, named by a hash of all that their result depends on.

A job whose arm, seed, parameters or start changes has another name and is done anew; one that does
not change is found done. r00 is trained once for all arms whose training is the same, and
candidates are embedded once for all arms whose candidates and embedder are the same. The name
counts PyTorch's version, the device and the precision too, as digits depend on them; where the
study's folder and the project lie it does not count.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from databoost.candidates.embedding import pick_precision
from databoost.data.datasets import read_manifest
from databoost.data.files import read_json, sha256_of, whole_folder, write_bytes, write_json
from databoost.errors import DatasetError, ParamsError, WeightsError
from databoost.layout import Layout
from databoost.model.evaluation import pick_device
from databoost.params import Params, parse_params, round_number
from databoost.sections import TrainParams
from databoost.study.places import StudyPlaces
from databoost.study.plan import PREVIOUS, ROUNDS, SECTIONS, Study, arm_params

Kind = Literal["r00", "candidates", "cell"]
#: Part of every job's name. Raise it with any change of the code that changes what a job computes.
RESULT_VERSION = 1
_PLAIN = ("name", "kind", "schedule", "arm", "seed", "needs")


@dataclass(frozen=True)
class Job:
    """One process's work.

    Attributes
    ----------
    name
        Also of its folder.
    kind
        ``r00``: train and evaluate it; ``candidates``: of r00, embedded; ``cell``: all rounds of
        an arm with a seed.
    root
        Its project.
    start
        Project with r00's images.
    params
        ``embedding.weights`` may hold `PREVIOUS`.
    schedule
        Additions of each round after r00.
    arm, seed
        Of a cell; of the others, the first that needs them.
    base, candidates
        Projects of the jobs before it; empty if it needs none.
    scores
        Copy of r00's label scores; empty if it does not look at them.
    needs
        Names of the jobs before it.
    """

    name: str
    kind: Kind
    root: Path
    start: Path
    params: Params
    schedule: tuple[int, ...]
    arm: str
    seed: int
    base: Path | None = None
    candidates: Path | None = None
    scores: Path | None = None
    needs: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """Its files."""
        return Layout(self.root)

    def is_done(self) -> bool:
        """Whether its result is there."""
        if self.kind == "candidates":
            return self.layout.candidates.exists()
        names = ("r00",) if self.kind == "r00" else self.params.rounds
        return all(self.layout.round(name).evaluation.exists() for name in names)


def plan_jobs(layout: Layout, params: Params, study: Study, places: StudyPlaces) -> list[Job]:
    """List the jobs of a study, each after those that it needs, the first seed's first.

    The project's r00, classes and held-out images are copied, so that the project may go on.

    Raises
    ------
    DatasetError
        If the project has no complete r00, no test image, or no label scores where an arm asks for
        them.
    WeightsError
        If a weights file is missing.
    """
    every = [
        (arm, seed, _with_weights(layout, arm_params(study, params, arm, seed)))
        for seed in study.seeds
        for arm in study.arms
    ]
    start = _freeze(layout, places)
    is_asked_for = any(own.boost.suspects == "skip" for _, _, own in every)
    scores = _freeze_scores(layout, places) if is_asked_for else None
    planner = _Planner(places, start, study.schedule, scores)
    for arm, seed, own in every:
        planner.add(arm, seed, own)
    return list(planner.jobs.values())


def device_of(settings: TrainParams) -> torch.device | None:
    """Give the device that a job runs on; None if there is none such here: the job will say so."""
    try:
        return pick_device(settings)
    except ParamsError:
        return None


def write_order(path: Path, job: Job) -> None:
    """Write a job down for another process."""
    values = {
        **{name: getattr(job, name) for name in _PLAIN},
        **{name: str(getattr(job, name).resolve()) for name in ("root", "start")},
        **{
            name: str(value.resolve()) if (value := getattr(job, name)) else None
            for name in ("base", "candidates", "scores")
        },
        "params": job.params.model_dump(mode="json"),
    }
    write_json(path, values)


def read_order(path: Path) -> Job:
    """Read what :func:`write_order` wrote."""
    values = read_json(path)
    places = {
        name: Path(values[name]) if values[name] else None
        for name in ("root", "start", "base", "candidates", "scores")
    }
    return Job(
        **{
            **values,
            **places,
            "needs": tuple(values["needs"]),
            "schedule": tuple(values["schedule"]),
            "params": parse_params(values["params"], str(path)),
        }
    )


class _Planner:
    """Collects jobs by name, each once."""

    def __init__(
        self, places: StudyPlaces, start: Path, schedule: tuple[int, ...], scores: Path | None
    ) -> None:
        self.places, self.start, self.schedule, self.scores = places, start, schedule, scores
        self.jobs: dict[str, Job] = {}
        self._contents: dict[str, str] = {}

    def add(self, arm: str, seed: int, params: Params) -> None:
        """Add the jobs of an arm with a seed."""
        device = device_of(params.train)
        machine = [RESULT_VERSION, torch.__version__, device.type if device else None]
        dumped = params.model_dump(mode="json")
        dumped["embedding"] = embedder = self._embedder(params, device)
        training = [dumped["train"], dumped["model"], params.boost.mine_on, machine]
        own = Job("", "r00", Path(), self.start, params, self.schedule, arm, seed)
        base = self._job(own, "r00", training)
        own = replace(own, kind="candidates", base=base.root, needs=(base.name,))
        if params.boost.strategy != "none":
            policy = {key: value for key, value in dumped["candidates"].items() if key != "engine"}
            index = [params.search.method, params.search.trees, params.search.seed]
            first = embedder | {"weights": embedder["weights"].replace(PREVIOUS, "r00")}
            pixels = base.name if first["weights"].startswith(ROUNDS) else ""
            mined = self._job(own, "candidates", [policy, first, index, pixels, machine])
            own = replace(own, candidates=mined.root, needs=(base.name, mined.name))
        scores = ""
        if params.boost.suspects == "skip" and self.scores is not None:
            own = replace(own, scores=self.scores)
            scores = self._content(self.scores)
        settings = [dumped[key] for key in SECTIONS]
        # A study that goes on for more rounds, each like the others, keeps its cells.
        uneven = self.schedule if len(set(self.schedule)) > 1 else ()
        key = [settings, uneven, own.needs, scores, machine]
        self._job(replace(own, kind="cell"), arm, key)

    def _job(self, job: Job, label: str, key: object) -> Job:
        name = f"{label}-{job.seed}-{_hash(self.start.name, key)}"
        return self.jobs.setdefault(name, replace(job, name=name, root=self.places.job(name)))

    def _embedder(self, params: Params, device: torch.device | None) -> dict[str, Any]:
        """Describe the embedder by what it is, wherever its file lies."""
        settings = params.embedding
        if device:
            settings = pick_precision(settings, device)
        described: dict[str, Any] = settings.model_dump(mode="json")
        if not settings.weights.startswith(ROUNDS):
            path = Path(settings.weights)  # of no meaning, and perhaps missing, to strategy `none`
            described["weights"] = self._content(path) if path.is_file() else ""
        return described

    def _content(self, path: Path) -> str:
        if str(path) not in self._contents:
            self._contents[str(path)] = sha256_of(path)
        return self._contents[str(path)]


def _with_weights(layout: Layout, params: Params) -> Params:
    """Have weights that are no round's named by their full path."""
    weights = params.embedding.weights
    if weights.startswith(ROUNDS):
        return params
    path = (layout.root / weights).resolve()
    if params.boost.strategy != "none" and not path.is_file():
        raise WeightsError(
            f"embedding.weights {weights} does not exist; name a file of your own, or a round's "
            f"checkpoint, {ROUNDS}r00/model/best.ckpt or {ROUNDS}{PREVIOUS}/model/best.ckpt"
        )
    embedding = params.embedding.model_copy(update={"weights": str(path)})
    return params.model_copy(update={"embedding": embedding})


def _freeze(layout: Layout, places: StudyPlaces) -> Path:
    r00 = layout.round("r00")
    read_manifest(r00.manifest, r00.dataset)
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    if not (heldout["split"] == "test").any():
        raise DatasetError(
            f"{layout.heldout} holds 0 test images; a study compares arms on test images: give "
            "data.source a folder `test`"
        )
    files = [r00.manifest, layout.heldout_manifest, layout.classes]
    key = _hash(*(sha256_of(path) for path in files))
    folder = places.start(key)
    if not folder.exists():
        with whole_folder(folder) as part:
            copy = Layout(part)
            for path in (*files, r00.dataset, layout.heldout):
                _copy(path, copy.root / path.relative_to(layout.root))
    return folder


def _freeze_scores(layout: Layout, places: StudyPlaces) -> Path:
    if not layout.scores.exists():
        raise DatasetError(
            f"{layout.scores} does not exist; boost.suspects: skip needs it: run `databoost scores`"
        )
    copy = places.scores(_hash(sha256_of(layout.scores)))
    if not copy.exists():
        write_bytes(copy, layout.scores.read_bytes())
    return copy


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        # Contents alone: DVC's read-only files would make folders that cannot be removed.
        shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def _hash(*parts: object) -> str:
    text = json.dumps(parts, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def with_round(job: Job, previous: str) -> Params:
    """Give a cell's parameters for the round made from `previous`."""
    weights = job.params.embedding.weights.replace(PREVIOUS, previous)
    embedding = job.params.embedding.model_copy(update={"weights": weights})
    boost = job.params.boost.model_copy(update={"additions": job.schedule[round_number(previous)]})
    return job.params.model_copy(update={"embedding": embedding, "boost": boost})
