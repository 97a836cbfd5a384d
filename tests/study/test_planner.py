"""Which jobs a study has, what they share, and what makes them anew."""

from pathlib import Path

import pytest
import torch
from handmade_rounds import MANIFEST_HEADER, RAW_ROWS, declared

from databoost.data.files import write_bytes, write_text
from databoost.errors import DatasetError, ParamsError, WeightsError
from databoost.layout import Layout
from databoost.params import Params
from databoost.study.jobs import Job, read_order, write_order
from databoost.study.places import StudyPlaces
from databoost.study.plan import Study
from databoost.study.planner import Plan, device_of, plan_jobs

ARMS = {
    "none": {"boost.strategy": "none"},
    "random": {"boost.strategy": "random"},
    "near": {"boost.strategy": "nearest"},
}

SKIPPING = {"boost.suspects": "skip"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Give a project that is prepared: r00, classes, one test image."""
    layout = Layout(tmp_path / "project")
    r00 = layout.round("r00")
    write_text(r00.manifest, MANIFEST_HEADER + RAW_ROWS)
    for row in RAW_ROWS.splitlines():
        write_bytes(r00.dataset / row.split(",")[1], row.encode())
    write_text(layout.heldout_manifest, MANIFEST_HEADER + "t1,test/i/t1.png,test,i,raw,,,r00,,\n")
    write_bytes(layout.heldout / "test/i/t1.png", b"t1")
    write_text(layout.classes, "label\ni\nv\n")
    write_text(layout.scores, "image_id\n")
    return layout


def plan(layout: Layout, params: Params | None = None, **changes: object) -> Plan:
    values = {"rounds": 1, "additions": 4, "seeds": [0, 1], "arms": ARMS} | changes
    places = StudyPlaces(layout.root / "study")
    return plan_jobs(layout, params or declared(), Study.model_validate(values), places)


def planned(layout: Layout, params: Params | None = None, **changes: object) -> list[Job]:
    return list(plan(layout, params, **changes).jobs.values())


def rounds_of(jobs: list[Job]) -> dict[str, Job]:
    """Give the jobs of rounds after r00 by their arm; of one round and seed."""
    return {job.arm: job for job in jobs if job.kind == "round"}


def kinds(jobs: list[Job]) -> list[tuple[str, int, str]]:
    return [(job.kind, job.seed, job.arm if job.kind == "round" else "") for job in jobs]


def test_r00_and_candidates_are_shared_and_the_first_seed_comes_first(layout: Layout) -> None:
    jobs = planned(layout)
    assert kinds(jobs) == [
        ("r00", 0, ""), ("round", 0, "none"), ("round", 0, "random"), ("candidates", 0, ""),
        ("round", 0, "near"), ("r00", 1, ""), ("round", 1, "none"), ("round", 1, "random"),
        ("candidates", 1, ""), ("round", 1, "near"),
    ]  # fmt: skip
    by_name = {job.name: job for job in jobs}
    assert len(by_name) == len(jobs)
    r00, none, random, candidates, near = jobs[:5]
    assert r00.needs == ()
    assert none.needs == random.needs == candidates.needs == (r00.name,)
    assert near.needs == (r00.name, candidates.name)
    assert none.candidates is random.candidates is None
    assert near.candidates == candidates.root
    assert none.base == near.base == candidates.base == r00.root


def test_an_arm_that_looks_at_no_vectors_is_the_same_whatever_embeds(layout: Layout) -> None:
    arms = {
        "plain": {"boost.strategy": "random"},
        "onnx": {"boost.strategy": "random", "embedding.weights": "gone.onnx"},
        "annoy": {"boost.strategy": "random", "search.method": "annoy"},
        "gated": {"boost.strategy": "random", "boost.drop_unlike": 0.1},
    }
    of = rounds_of(planned(layout, arms=arms, seeds=[0]))
    bases = {name: job.name.removeprefix(name) for name, job in of.items()}
    assert bases["plain"] == bases["onnx"] == bases["annoy"] != bases["gated"]
    assert [job.candidates is None for job in of.values()] == [True, True, True, False]


def test_what_an_arm_changes_is_done_for_it_alone(layout: Layout) -> None:
    weights = layout.root / "encoder.onnx"
    weights.write_bytes(b"one")
    arms = {
        "near": {},
        "wide": {"candidates.rotation": [-20, 20]},
        "long": {"train.epochs": 7},
        "half": {"boost.mine_on": "half"},
        "other": {"embedding.architecture": "onnx", "embedding.weights": "encoder.onnx"},
        "deep": {"search.search_k": 7},
    }
    jobs = planned(layout, arms=arms, seeds=[0])
    of = rounds_of(jobs)
    assert len({job.base for job in of.values()}) == 3  # long and half train r00 otherwise
    assert of["near"].base == of["wide"].base == of["other"].base == of["deep"].base
    assert len({job.candidates for job in of.values()}) == 5
    assert of["near"].candidates == of["deep"].candidates
    assert of["other"].params.embedding.weights == str(weights.resolve())
    (wide,) = (job for job in jobs if job.root == of["wide"].candidates)
    assert wide.params.candidates.rotation == (-20, 20)
    weights.write_bytes(b"two")
    again = rounds_of(planned(layout, arms=arms, seeds=[0]))
    assert [arm for arm in arms if again[arm].name != of[arm].name] == ["other"]


def test_a_job_is_the_same_until_its_input_changes(layout: Layout) -> None:
    jobs = planned(layout)
    longer = planned(layout, rounds=3, seeds=[0, 1, 2])
    assert {job.name for job in jobs} < {job.name for job in longer}
    more = {job.name for job in planned(layout, additions=5)}
    assert {job.arm for job in jobs if job.name not in more} == {"random", "near", "none"}
    assert {job.kind for job in jobs if job.name not in more} == {"round"}
    with_scores = [*planned(layout), *planned(layout, arms=ARMS | {"trust": SKIPPING})]
    assert {job.name for job in jobs} == {job.name for job in with_scores if job.arm != "trust"}
    for name in ("a1", "a3"):
        manifest = layout.round("r00").manifest
        write_text(manifest, manifest.read_text().replace("a1", name))
        write_bytes(layout.round("r00").dataset / f"train/i/{name}.png", b"")
    assert not {job.name for job in planned(layout)} & {job.name for job in jobs}


def test_rounds_may_differ_in_their_additions_and_share_those_that_do_not(layout: Layout) -> None:
    def names(*additions: int) -> list[str]:
        arms = {"near": {}, "none": ARMS["none"]}
        every = plan(layout, rounds=len(additions), additions=additions, arms=arms, seeds=[0])
        chain = every.chains[0]
        assert chain.schedule == additions
        assert [job.round for job in chain.jobs] == ["r00", "r01", "r02", "r03"][
            : len(additions) + 1
        ]
        assert chain.jobs[2].needs[-1] == chain.jobs[1].name
        assert chain.jobs[2].base == chain.jobs[1].root
        return [job.name for job in chain.jobs]

    long, short, even = names(4, 9, 7), names(4, 9), names(4, 4)
    assert long[:3] == short
    assert short[:2] == even[:2]
    assert short[2] != even[2]
    assert names(5, 9)[0] == short[0]
    assert not set(names(5, 9)[1:]) & set(short)


def test_a_chain_is_of_its_own_arm_from_r00_on(layout: Layout) -> None:
    arms = {"near": {}, "far": {"boost.neighbors": 7}}
    near, near1, far, far1 = plan(layout, arms=arms).chains
    assert [(chain.arm, chain.seed) for chain in (near, near1, far, far1)] == [
        ("near", 0), ("near", 1), ("far", 0), ("far", 1),
    ]  # fmt: skip
    assert near.jobs[0].name == far.jobs[0].name
    assert [job.arm for job in far.jobs] == ["far", "far"]
    assert [job.params.boost.neighbors for job in far.jobs] == [7, 7]
    assert not far.is_done()
    for job in far.jobs[1:]:
        job.layout.round("r01").evaluation.mkdir(parents=True)
    assert far.is_done()


def test_scores_are_of_those_arms_alone_that_look_at_them(layout: Layout) -> None:
    arms = {"near": {}, "trust": SKIPPING}
    near, trust = rounds_of(planned(layout, arms=arms, seeds=[0])).values()
    assert near.scores is None
    assert trust.scores is not None
    assert trust.scores.read_text() == "image_id\n"
    write_text(layout.scores, "image_id\na1\n")
    near2, trust2 = rounds_of(planned(layout, arms=arms, seeds=[0])).values()
    assert near2 == near
    assert trust2.name != trust.name
    assert trust2.base == trust.base
    assert trust2.scores is not None
    assert trust2.scores.read_text() == "image_id\na1\n"
    assert trust.scores.read_text() == "image_id\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("databoost.study.planner.RESULT_VERSION", 0),
        ("torch.__version__", "1.0"),
        ("torch.backends.cpu.get_cpu_capability", lambda: "other"),
        ("databoost.study.planner.pick_device", lambda settings: torch.device("meta")),
    ],
)
def test_results_of_other_code_and_other_machines_are_not_taken_for_these(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    weights = layout.root / "encoder.onnx"
    weights.write_bytes(b"one")
    arms = ARMS | {"own": {"embedding.architecture": "onnx", "embedding.weights": "encoder.onnx"}}
    names = {job.name for job in planned(layout, arms=arms)}
    assert names == {job.name for job in planned(layout, arms=arms)}
    monkeypatch.setattr(name, value)
    assert not names & {job.name for job in planned(layout, arms=arms)}


def test_results_of_another_gpu_are_not_taken_for_this_ones(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr("databoost.study.planner.pick_device", lambda settings: cuda)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **options: True)
    names = []
    for gpu in ("NVIDIA one", "NVIDIA other"):
        monkeypatch.setattr("torch.cuda.get_device_name", {cuda: gpu}.__getitem__)
        names.append({job.name for job in planned(layout)})
    assert not names[0] & names[1]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_job_runs_on_the_device_that_it_is_named_for_or_not_at_all(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    there = torch.device(device)
    monkeypatch.setattr("databoost.study.planner.pick_device", lambda settings: there)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **options: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "NVIDIA one")
    jobs = planned(layout)
    assert declared().train.accelerator == "auto"
    assert {job.params.train.accelerator for job in jobs} == {device}


def test_another_onnx_runtime_embeds_anew(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    (layout.root / "encoder.onnx").write_bytes(b"one")
    onnx = {"embedding.architecture": "onnx", "embedding.weights": "encoder.onnx"}
    before = planned(layout, arms={"near": {}, "encoder": onnx}, seeds=[0])
    monkeypatch.setattr("databoost.study.planner.version", lambda _: "0.1")
    after = planned(layout, arms={"near": {}, "encoder": onnx}, seeds=[0])
    assert {job.name for job in before} & {job.name for job in after} == {
        job.name for job in before if job.kind == "r00" or job.arm == "near"
    }


def test_another_scikit_learn_groups_failures_anew(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {"near": {}, "groups": {"boost.clusters": 3}}
    before = planned(layout, arms=arms, seeds=[0])
    monkeypatch.setattr("databoost.study.planner.version", lambda _: "0.1")
    after = {job.name for job in planned(layout, arms=arms, seeds=[0])}
    assert {job.arm for job in before if job.name not in after} == {"groups"}


def test_a_precision_counts_as_what_it_is_settled_to(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names() -> dict[str, str]:
        arms = {"auto": {}, "named": {"embedding.precision": "float32"}}
        jobs = rounds_of(planned(layout, arms=arms, seeds=[0]))
        return {arm: str(job.candidates) for arm, job in jobs.items()}

    supported = "torch.cpu._is_avx512_bf16_supported"
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False, raising=False)
    monkeypatch.setattr(supported, lambda: False, raising=False)
    slow = names()
    assert slow["auto"] == slow["named"]
    monkeypatch.setattr(supported, lambda: True, raising=False)
    fast = names()
    assert fast["auto"] != fast["named"] == slow["named"]


def test_a_device_that_is_not_there_is_left_to_the_job_to_tell(layout: Layout) -> None:
    arms = ARMS | {"bad": {"train.accelerator": "nowhere"}}
    jobs = planned(layout, arms=arms)
    (bad, *_) = (job for job in jobs if job.arm == "bad")
    assert device_of(bad.params.train) is None
    here = {job.name for job in jobs if job.arm != "bad"}
    assert here == {job.name for job in planned(layout)}


def test_names_do_not_depend_on_where_the_project_lies(layout: Layout) -> None:
    (layout.root / "encoder.onnx").write_bytes(b"one")
    own = {"embedding.architecture": "onnx", "embedding.weights": "encoder.onnx"}
    arms = {"own": own, "none": own | {"boost.strategy": "none"}}
    names = [job.name for job in planned(layout, arms=arms)]
    moved = Layout(layout.root.with_name("elsewhere"))
    layout.root.rename(moved.root)
    assert [job.name for job in planned(moved, arms=arms)] == names


def test_the_start_is_a_copy_that_the_project_does_not_reach(layout: Layout) -> None:
    start = Layout(planned(layout)[0].start)
    image = layout.round("r00").dataset / "train/i/a1.png"
    copy = start.round("r00").dataset / "train/i/a1.png"
    assert copy.read_bytes() == image.read_bytes()
    image.write_bytes(b"changed")
    assert copy.read_bytes() != image.read_bytes()
    assert (start.heldout / "test/i/t1.png").exists()
    assert start.classes.exists()


def test_what_changes_no_round_renames_none(layout: Layout) -> None:
    others = declared(
        audit={"odd_size": 9.0}, candidates={"engine": "ray"}, evaluate={"grid_images": 60}
    )
    assert [job.name for job in planned(layout, others)] == [job.name for job in planned(layout)]


def test_the_start_is_told_of_by_what_it_was_made_with(layout: Layout) -> None:
    recorded = "{params: {params.yaml: {split: {strategy: given}}}}"
    write_text(layout.lock, f"stages: {{prepare: {recorded}}}\n")
    write_text(layout.params, "split: {strategy: stratified}\n")
    stratified = declared(split={"strategy": "stratified"})
    with pytest.raises(ParamsError, match=r"r00 was made with(.|\n)*strategy: given then, strat"):
        planned(layout, stratified)
    write_text(layout.params, "split: {strategy: given}\n")
    before = planned(layout)
    write_text(layout.params, "split: {strategy: stratified}\n")
    after = planned(layout, stratified)
    assert [job.name for job in after] == [job.name for job in before]
    assert {job.params.split.strategy for job in after} == {"given"}


def test_newest_features_are_named_by_the_round_before(layout: Layout) -> None:
    checkpoint = "data/rounds/{}/model/best.ckpt"
    arms = {"near": {}, "newest": {"embedding.weights": checkpoint.format("{previous}")}}
    near, newest = plan(layout, rounds=2, arms=arms, seeds=[0]).chains
    assert near.jobs[1].candidates == newest.jobs[1].candidates  # the first round's are the same

    def weights(jobs: tuple[Job, ...]) -> list[str]:
        return [job.params.embedding.weights for job in jobs]

    assert weights(newest.jobs[1:]) == [checkpoint.format(name) for name in ("r00", "r01")]
    assert weights(near.jobs) == [checkpoint.format("r00")] * 3


def test_an_order_is_read_as_it_was_written(layout: Layout) -> None:
    for job in planned(layout, arms=ARMS | {"trust": SKIPPING}):
        path = layout.root / "order.json"
        write_order(path, job)
        assert read_order(path) == job


def test_a_job_is_done_when_all_that_is_read_of_it_is_there(layout: Layout) -> None:
    r00, none, _, candidates = planned(layout)[:4]
    for job, outputs in (
        (r00, [r00.layout.round("r00").evaluation]),
        (none, [none.layout.round("r01").evaluation]),
        (candidates, [candidates.layout.candidates]),
    ):
        for output in outputs:
            assert not job.is_done()
            output.mkdir(parents=True)
        assert job.is_done()


def test_what_a_study_cannot_do_without(layout: Layout) -> None:
    with pytest.raises(WeightsError, match=r"embedding.weights none\.onnx does not exist"):
        planned(layout, arms={"a": {"embedding.weights": "none.onnx"}})
    layout.scores.unlink()
    with pytest.raises(DatasetError, match=r"scores.csv does not exist; boost.suspects: skip"):
        planned(layout, arms={"a": SKIPPING})
    write_text(layout.heldout_manifest, MANIFEST_HEADER)
    with pytest.raises(DatasetError, match="holds 0 test images"):
        planned(layout)
