"""Who imports whom: a module imports only what stands above it."""

import ast
from pathlib import Path

import pytest
from projects import REPOSITORY
from ruamel.yaml import YAML

SOURCE = REPOSITORY / "src" / "databoost"
#: The modules in the order in which a reader meets them; each wing is one line or more.
ORDER = """
    errors code labels data.files yamlfile sections params layout sharing
    data.tables data.tablefiles data.images data.resizing
    data.lettering data.scanning data.handwriting data.synthetic
    data.archives data.downloads data.sources data.datasets data.usable data.halves data.splitting
    data.class_folders data.raw
    data.corrections data.differences ledger_edits ledger_history project
    audit.gradients audit.near_duplicates audit.image_checks
    audit.shift audit.regions audit.findings audit.resplitting
    model.processor model.fixed model.architectures model.checkpoints model.batches
    model.steps model.trainer model.loop model.late_epochs model.training model.evaluation
    model.pretrained
    audit.crossvalidation audit.label_scores
    candidates.recipes candidates.strokes candidates.bending candidates.warping
    candidates.augmentation
    candidates.embedder candidates.onnx_embedder candidates.embedding
    candidates.exact candidates.search candidates.shards candidates.production candidates.workers
    candidates.cluster candidates.judging candidates.reranking
    boosting strategies additions drawing fidelity clusters vectors nearest
    mining
    attribution tracing
    views.plots views.pictures views.worst_images views.charts views.traced views.page
    views.thumbnails views.sprites views.projection views.map_picture views.map_page
    views.sheets views.sheet_contents views.sheet_edits views.study_picture
    views.preview
    trail provenance unfinished outcomes progress stores tracking publishing
    stages.ingest stages.prepare stages.audit stages.train stages.evaluate stages.candidates
    stages.boost stages.scores stages.attribute stages.map stages.report
    rounds
    study.places study.plan study.jobs study.planner study.late study.work study.worker study.queue
    study.verdicts study.results study.running
    cli_stages cli_settings cli_corrections cli_study cli
""".split()  # noqa: SIM905


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


#: Modules that no result of a stage depends on, and below which nothing of a stage lies.
PLUMBING = {
    *("code", "errors", "sections", "params", "layout", "sharing", "tracking", "publishing"),
    *("data.files", "data.tables", "data.tablefiles"),
}
#: What a stage imports of them only reads, or names a type.
UNNAMED = {
    ("train", "data.datasets"),
    ("candidates", "data.datasets"),
    ("boost", "model.evaluation"),
    ("attribute", "data.datasets"),
    ("scores", "data.datasets"),
}


FILES = {module_name(path): path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"}


def imported(path: Path) -> set[str]:
    """Give the dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            # The name may be a module of its own: from databoost.data import tables.
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own_modules(path: Path) -> set[str]:
    """Give the modules of databoost that a file imports."""
    found = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "databoost":
            modules = {".".join(parts[1:end]) for end in range(2, len(parts) + 1)} & FILES.keys()
            assert modules, f"{path} imports {name}, which is no module"
            found |= modules
    return found


def importers(package: str) -> set[str]:
    return {
        name
        for name, path in FILES.items()
        if any(f"{other}.".startswith(f"{package}.") for other in imported(path))
    }


def test_every_module_has_its_place() -> None:
    assert set(ORDER) == FILES.keys(), "a module is missing from ORDER, or is no more"


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_only_what_stands_above_it(name: str) -> None:
    above = ORDER[: ORDER.index(name)]
    below = own_modules(FILES[name]) - set(above)
    assert not below, f"{name} imports {sorted(below)}, which do not stand above it in ORDER"


def test_the_packages_hold_nothing_but_modules() -> None:
    for path in SOURCE.rglob("__init__.py"):
        assert imported(path) == set()


@pytest.mark.parametrize("stage", [name[7:] for name in ORDER if name.startswith("stages.")])
def test_a_stage_of_dvc_depends_on_the_modules_that_its_result_does(stage: str) -> None:
    needed, found = set(), {f"stages.{stage}"}
    while found:
        needed |= found
        found = {below for name in found for below in own_modules(FILES[name])} - needed - PLUMBING
    declared = YAML(typ="safe").load(REPOSITORY / "dvc.yaml")["stages"][stage]
    deps = [REPOSITORY / dep for dep in declared.get("do", declared)["deps"]]
    lacking = {
        name
        for name in needed
        if (stage, name) not in UNNAMED
        and not any(dep in (FILES[name], *FILES[name].parents) for dep in deps)
    }
    assert not lacking, f"dvc.yaml: {stage} does not depend on {sorted(lacking)}"


def test_only_tracking_imports_mlflow() -> None:
    assert importers("mlflow") == {"tracking"}


def test_none_imports_dvc() -> None:
    assert importers("dvc") == set()


@pytest.mark.parametrize(
    "module", ["cli", "cli_stages", "cli_settings", "cli_corrections", "cli_study", "project"]
)
def test_nothing_heavy_is_imported_by_the_command_line_at_once(module: str) -> None:
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    at_once = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert at_once <= {
        "sys",
        "time",
        "collections.abc",
        "importlib",
        "pathlib",
        "typing",
        "click",
        "databoost.cli_corrections",
        "databoost.cli_settings",
        "databoost.cli_stages",
        "databoost.cli_study",
        "databoost.errors",
        "databoost.project",
    }


def test_images_are_opened_in_one_place() -> None:
    """``Image.open`` and every other reader of image files that is installed."""
    openers = set()
    for name, path in FILES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (
                node.attr in ("imread", "decode_image", "read_image", "decode_png", "decode_jpeg")
                or (node.attr == "open" and ast.unparse(node.value).endswith("Image"))
            ):
                openers.add(name)
        if {"PIL.Image.open", "matplotlib.image", "torchvision.io"} & imported(path):
            openers.add(name)
    assert openers == {"data.images"}
