"""Which jobs a study has, each named by a hash of all that their result depends on.

A job whose arm, seed, parameters or start changes has another name and is done anew; one that does
not change is found done. r00 is trained once for all arms whose training is the same. Candidates
are embedded once for all arms whose candidates and embedder are the same, and not at all for one
that looks at no vectors: a random control waits for no embedder. Every round after that is a job,
whose name counts the round that it is made from, so that a study that is extended keeps the rounds
it has. The name counts PyTorch's version, the device, a CPU's vector instructions or a GPU's name,
and the precision too (and ONNX Runtime's and scikit-learn's version, where they are used), as
digits depend on them; where the study's folder and the project lie it does not count.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from databoost.additions import needs_vectors
from databoost.candidates.embedding import pick_precision
from databoost.data.datasets import read_manifest
from databoost.data.files import read_json, sha256_of, whole_folder, write_bytes, write_json
from databoost.errors import DatasetError, ParamsError, WeightsError, listed
from databoost.layout import Layout
from databoost.model.processor import pick_device
from databoost.params import Params, parse_params, round_name, round_number
from databoost.provenance import SNAPSHOT_STAGES, changed_params
from databoost.sections import TrainParams
from databoost.study.jobs import Chain, Job
from databoost.study.places import StudyPlaces
from databoost.study.plan import FIRST, PREVIOUS, ROUNDS, SECTIONS, Study, arm_params

#: Part of every job's name. Raise it with any change of the code that changes what a job computes.
RESULT_VERSION = 4
#: Sections that say how the first snapshot was made; a study logs them and changes none.
_OF_THE_START = ("data", "synthetic", "split", "audit")
_MADE_WITH = "made_with.json"


@dataclass(frozen=True)
class Plan:
    """What a study consists of.

    Attributes
    ----------
    jobs
        By name, each after those that it needs, the first seed's first.
    chains
        Arm by arm, the seeds of each in order.
    """

    jobs: Mapping[str, Job]
    chains: tuple[Chain, ...]


def plan_jobs(layout: Layout, params: Params, study: Study, places: StudyPlaces) -> Plan:
    """Work out the jobs of a study.

    The project's r00, classes and held-out images are copied, with the parameters that they were
    made with, so that the project may go on.

    Raises
    ------
    DatasetError
        If the project has no complete r00, no test image, or no label scores where an arm asks for
        them.
    ParamsError
        If params.yaml holds other values than r00 was made with.
    WeightsError
        If a weights file is missing.
    """
    start = _freeze(layout, params, places)
    params = _with_made(params, start)
    every = [
        (arm, seed, _with_weights(layout, arm_params(study, params, arm, seed)))
        for seed in study.seeds
        for arm in study.arms
    ]
    is_asked_for = any(own.boost.suspects == "skip" for _, _, own in every)
    scores = _freeze_scores(layout, places) if is_asked_for else None
    planner = _Planner(places, start, study.schedule, scores)
    chains = {(arm, seed): planner.add(arm, seed, own) for arm, seed, own in every}
    return Plan(
        planner.jobs, tuple(chains[arm, seed] for arm in study.arms for seed in study.seeds)
    )


def device_of(settings: TrainParams) -> torch.device | None:
    """Give the device that a job runs on; None if there is none such here: the job will say so."""
    try:
        return pick_device(settings)
    except ParamsError:
        return None


class _Planner:
    """Collects jobs by name, each once."""

    def __init__(
        self, places: StudyPlaces, start: Path, schedule: tuple[int, ...], scores: Path | None
    ) -> None:
        self.places, self.start, self.schedule, self.scores = places, start, schedule, scores
        self.jobs: dict[str, Job] = {}
        self._contents: dict[str, str] = {}

    def add(self, arm: str, seed: int, params: Params) -> Chain:
        """Add the jobs of an arm with a seed."""
        device = device_of(params.train)
        machine = [RESULT_VERSION, torch.__version__, device.type if device else None]
        if device and device.type == "cpu":
            machine.append(torch.backends.cpu.get_cpu_capability())
        elif device and device.type == "cuda":
            machine.append(torch.cuda.get_device_name(device))
        dumped = params.model_dump(mode="json")
        dumped["embedding"] = embedder = self._embedder(params, device)
        if device:  # the name is of results made there: the job must not take another device
            train = params.train.model_copy(update={"accelerator": device.type})
            params = params.model_copy(update={"train": train})
        first = with_round(params, FIRST, self.schedule[0])
        training = [dumped["train"], dumped["model"], params.boost.mine_on, machine]
        r00 = self._job(Job("", "r00", Path(), self.start, first, arm, seed), "r00", training)
        own = Job(
            "", "round", Path(), self.start, first, arm, seed, base=r00.root, needs=(r00.name,)
        )
        # Of no effect on what a round is: who draws the candidates, and how many are pictured.
        del dumped["candidates"]["engine"]
        sections = [name for name in SECTIONS if name not in ("boost", "evaluate")]
        if not needs_vectors(params.boost):
            sections = [name for name in sections if name not in ("embedding", "search")]
        else:
            index = [params.search.method, params.search.trees, params.search.seed]
            weights = embedder | {"weights": embedder["weights"].replace(PREVIOUS, FIRST)}
            pixels = r00.name if weights["weights"].startswith(ROUNDS) else ""
            runtime = version("onnxruntime") if params.embedding.architecture == "onnx" else ""
            key = [dumped["candidates"], weights, index, pixels, machine, runtime]
            mined = self._job(replace(own, kind="candidates"), "candidates", key)
            own = replace(own, candidates=mined.root, needs=(r00.name, mined.name))
        key = [[dumped[name] for name in sections], own.needs, machine]
        if params.boost.suspects == "skip" and self.scores is not None:
            own = replace(own, scores=self.scores)
            key.append(self._content(self.scores))
        if params.boost.clusters:
            key.append(version("scikit-learn"))
        jobs = [r00]
        for before, n_additions in zip(params.rounds, self.schedule, strict=False):
            here = with_round(params, before, n_additions)
            name = round_name(round_number(before) + 1)
            job = replace(own, params=here, round=name, base=jobs[-1].root)
            if before != FIRST:
                job = replace(job, needs=(*own.needs, jobs[-1].name))
            made_from = [key, jobs[-1].name, here.boost.model_dump(mode="json")]
            jobs.append(self._job(job, f"{arm}-{name}", made_from))
        return Chain(arm, seed, (replace(r00, params=first, arm=arm), *jobs[1:]))

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
            path = Path(settings.weights)  # of no meaning, and perhaps missing, to some strategies
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
    if needs_vectors(params.boost) and not path.is_file():
        raise WeightsError(
            f"embedding.weights {weights} does not exist; name a file of your own, or a round's "
            f"checkpoint, {ROUNDS}r00/model/best.ckpt or {ROUNDS}{PREVIOUS}/model/best.ckpt"
        )
    embedding = params.embedding.model_copy(update={"weights": str(path)})
    return params.model_copy(update={"embedding": embedding})


def _freeze(layout: Layout, params: Params, places: StudyPlaces) -> Path:
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
    if not (folder / _MADE_WITH).exists():
        if changes := changed_params(layout, SNAPSHOT_STAGES):
            raise ParamsError(
                "r00 was made with other parameters than params.yaml holds; `dvc repro` makes it "
                f"anew, or restore them:{listed(changes)}"
            )
        made = params.model_dump(mode="json", include=set(_OF_THE_START))
        with whole_folder(folder) as part:
            write_json(part / _MADE_WITH, made)
            copy = Layout(part)
            for path in (*files, r00.dataset, layout.heldout):
                _copy(path, copy.root / path.relative_to(layout.root))
    return folder


def _with_made(params: Params, start: Path) -> Params:
    """Have the first snapshot's parameters be those that it was made with."""
    made = read_json(start / _MADE_WITH)
    return parse_params(params.model_dump(mode="json") | made, str(start / _MADE_WITH))


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


def with_round(params: Params, previous: str, n_additions: int) -> Params:
    """Give an arm's parameters for the round made from `previous`."""
    weights = params.embedding.weights.replace(PREVIOUS, previous)
    embedding = params.embedding.model_copy(update={"weights": weights})
    boost = params.boost.model_copy(update={"additions": n_additions})
    return params.model_copy(update={"embedding": embedding, "boost": boost})
