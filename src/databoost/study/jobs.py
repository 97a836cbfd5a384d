"""What a study has to do: jobs, named by a hash of all that their result depends on.

A job whose arm, seed, parameters or start changes has another name and is done anew; one that does
not change is found done. r00 is trained once for all arms whose training is the same, and
candidates are embedded once for all arms whose candidates and embedder are the same.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from databoost.data.datasets import read_manifest
from databoost.data.files import read_json, sha256_of, whole_folder, write_json
from databoost.errors import DatasetError, WeightsError
from databoost.layout import Layout
from databoost.params import Params, parse_params
from databoost.study.places import StudyPlaces
from databoost.study.plan import PREVIOUS, Study, arm_params

Kind = Literal["r00", "candidates", "cell"]
_ROUNDS = "data/rounds/"


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
    arm, seed
        Of a cell; of the others, the first that needs them.
    base, candidates
        Projects of the jobs before it; empty if it needs none.
    needs
        Names of the jobs before it.
    """

    name: str
    kind: Kind
    root: Path
    start: Path
    params: Params
    arm: str
    seed: int
    base: Path | None = None
    candidates: Path | None = None
    needs: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """Its files."""
        return Layout(self.root)

    def is_done(self) -> bool:
        """Whether its result is there."""
        if self.kind == "candidates":
            return self.layout.candidates.exists()
        last = "r00" if self.kind == "r00" else self.params.rounds[-1]
        return self.layout.round(last).evaluation.exists()


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
    with_scores = any(one.boost.suspects == "skip" for _, _, one in every)
    start = _freeze(layout, places, with_scores)
    jobs: dict[str, Job] = {}
    for arm, seed, own in every:
        _add_jobs(jobs, places, start, arm, seed, own)
    return list(jobs.values())


def write_order(path: Path, job: Job) -> None:
    """Write a job down for another process."""
    values = {
        **{name: getattr(job, name) for name in ("name", "kind", "arm", "seed", "needs")},
        **{name: str(getattr(job, name).resolve()) for name in ("root", "start")},
        **{
            name: str(value.resolve()) if (value := getattr(job, name)) else None
            for name in ("base", "candidates")
        },
        "params": job.params.model_dump(mode="json"),
    }
    write_json(path, values)


def read_order(path: Path) -> Job:
    """Read what :func:`write_order` wrote."""
    values = read_json(path)
    places = {
        name: Path(values[name]) if values[name] else None
        for name in ("root", "start", "base", "candidates")
    }
    return Job(
        **{
            **values,
            **places,
            "needs": tuple(values["needs"]),
            "params": parse_params(values["params"], str(path)),
        }
    )


def _add_jobs(
    jobs: dict[str, Job], places: StudyPlaces, start: Path, arm: str, seed: int, params: Params
) -> None:
    def add(kind: Kind, label: str, key: object, **links: Any) -> Job:
        name = f"{label}-{seed}-{_hash(start.name, key)}"
        job = Job(name, kind, places.job(name), start, params, arm, seed, **links)
        return jobs.setdefault(name, job)

    dumped = params.model_dump(mode="json")
    training = [dumped["train"], dumped["model"], params.boost.mine_on]
    base = add("r00", "r00", training)
    needs, candidates = [base.name], None
    if params.boost.strategy != "none":
        weights = params.embedding.weights
        policy = {key: value for key, value in dumped["candidates"].items() if key != "engine"}
        index = [params.search.method, params.search.trees, params.search.seed]
        pixels = base.name if weights.startswith(_ROUNDS) else sha256_of(Path(weights))
        embedding = dumped["embedding"] | {"weights": weights.replace(PREVIOUS, "r00")}
        mined = add(
            "candidates", "candidates", [policy, embedding, index, pixels], base=base.root,
            needs=(base.name,),
        )  # fmt: skip
        candidates = mined.root
        needs.append(mined.name)
    settings = {
        key: value
        for key, value in dumped.items()
        if key in ("model", "train", "evaluate", "candidates", "embedding", "search", "boost")
    }
    add("cell", arm, [settings, needs], base=base.root, candidates=candidates, needs=tuple(needs))


def _with_weights(layout: Layout, params: Params) -> Params:
    """Have weights that are no round's named by their full path."""
    weights = params.embedding.weights
    if weights.startswith(_ROUNDS):
        return params
    path = (layout.root / weights).resolve()
    if params.boost.strategy != "none" and not path.is_file():
        raise WeightsError(
            f"embedding.weights {weights} does not exist; name a file of your own, or a round's "
            f"checkpoint, {_ROUNDS}r00/model/best.ckpt or {_ROUNDS}{PREVIOUS}/model/best.ckpt"
        )
    embedding = params.embedding.model_copy(update={"weights": str(path)})
    return params.model_copy(update={"embedding": embedding})


def _freeze(layout: Layout, places: StudyPlaces, with_scores: bool) -> Path:
    r00 = layout.round("r00")
    read_manifest(r00.manifest, r00.dataset)
    heldout = read_manifest(layout.heldout_manifest, layout.heldout)
    if not (heldout["split"] == "test").any():
        raise DatasetError(
            f"{layout.heldout} holds 0 test images; a study compares arms on test images: give "
            "data.source a folder `test`"
        )
    files = [r00.manifest, layout.heldout_manifest, layout.classes]
    if with_scores:
        if not layout.scores.exists():
            raise DatasetError(
                f"{layout.scores} does not exist; boost.suspects: skip needs it: run "
                "`databoost scores`"
            )
        files.append(layout.scores)
    key = _hash(*(sha256_of(path) for path in files))
    folder = places.start(key)
    if not folder.exists():
        with whole_folder(folder) as part:
            copy = Layout(part)
            for path in (*files, r00.dataset, layout.heldout):
                _copy(path, copy.root / path.relative_to(layout.root))
    return folder


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
    return job.params.model_copy(update={"embedding": embedding})
