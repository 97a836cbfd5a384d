"""The report's page: what it holds, what it escapes, and that a browser opens it quietly."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from handmade_rounds import declared

from databoost.attribution import transition
from databoost.data.images import Pixels, encode_png
from databoost.data.tables import ADDITIONS, CONFUSIONS, CREDITS, ROUNDS, SHEET
from databoost.tracing import credit_groups, trace_images
from databoost.views.page import Report, report_page
from databoost.views.traced import outstanding

RULES = declared().report
NASTY = '<b>&"'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


#: Tags without an end.
VOID = {"meta", "link", "br", "input", "img"}


class Seen(HTMLParser):
    """Text, tags with attributes and the ids of a page; refuses tags that do not close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text += f"{data} "  # what tags part is no one word

    def pictures(self) -> list[str]:
        return [str(a["aria-label"]) for tag, a in self.tags if tag == "i" and "aria-label" in a]

    def ids(self) -> set[str | None]:
        return {attributes.get("id") for _, attributes in self.tags}


def read(image_id: str) -> Pixels:
    """A picture of one grey level an id; ids with "missing" have none."""
    if "missing" in image_id:
        raise KeyError(image_id)
    return np.full((90, 60, 1), sum(image_id.encode()) % 256, dtype=np.uint8)


def rounds(strategy: str = "nearest", shift: float = 0.0) -> pd.DataFrame:
    rows = [
        (name, strategy, split, accuracy + shift, accuracy - 0.1, accuracy + 0.1, 4, 1, n, n - 2)
        for name, accuracy, n in (("r00", 0.5, 2), ("r01", 0.75, 3))
        for split in ("train", "val", "test")
    ]
    return ROUNDS.frame(dict(zip(ROUNDS.columns, zip(*rows, strict=True), strict=True)))


def confusions(classes: list[str]) -> pd.DataFrame:
    rows = [
        (name, split, label, predicted, 11 if label == predicted else 2)
        for name in ("r00", "r01")
        for split in ("val", "test")
        for label in classes
        for predicted in classes
    ]
    return CONFUSIONS.frame(dict(zip(CONFUSIONS.columns, zip(*rows, strict=True), strict=True)))


def sheet(predicted: list[str]) -> pd.DataFrame:
    """Three validation images: q1 and q2 of class i, q3 of the class with the nasty name."""
    labels = ["i", "i", NASTY]
    values: dict[str, Any] = {
        "image_id": ["q1", "q2", "q3"],
        "path": ["val/i/q1.png", "val/i/q2.png", "val/x/q3.png"],
        "split": "val",
        "label": labels,
        "predicted_label": predicted,
        "is_misclassified": [a != b for a, b in zip(labels, predicted, strict=True)],
        "origin": "raw",
        "round_added": "r00",
    }
    numbers = {"p_label": 0.5, "p_predicted": 0.5, "margin": 0.0, "loss": 1.0}
    return SHEET.frame({k: pd.DataFrame(values | numbers)[k] for k in SHEET.columns})


def additions(strategy: str = "nearest") -> pd.DataFrame:
    found = strategy == "nearest"
    values = {
        "image_id": ["n1", "n2"],
        "candidate_id": [1, 2],
        "label": ["i", NASTY],
        "parent_id": ["pa", "pmissing"],
        "recipe": "7",
        "strategy": strategy,
        "query_id": "q1" if found else "",
        "query_label": "i" if found else "",
        "query_predicted_label": NASTY if found else "",
        "similarity": 0.9876,
        "rank": [1, 2] if found else 0,
    }
    return ADDITIONS.frame({k: pd.DataFrame(values)[k] for k in ADDITIONS.columns})


def told(strategy: str = "nearest", **changes: Any) -> Report:
    classes = changes.pop("classes", ["i", NASTY])
    step = transition(
        "r00",
        "r01",
        sheet([NASTY, "i", "i"]),
        sheet(["i", NASTY, "i"]),
        additions(strategy),
        ["i", NASTY],
    )
    values: dict[str, Any] = {
        "boost": f"boost {NASTY}",
        "classes": classes,
        "rounds": rounds(strategy),
        "control": None,
        "confusions": confusions(classes),
        "transitions": [step],
        "labels": {"pa": "i", "pmissing": NASTY},
    }
    return Report(**(values | changes))


def attributed(strategy: str = "nearest", **changes: Any) -> Report:
    """The same with traces: every image lies as near to n1 as 0.8, and to n2 as 0.6."""
    (step,) = told(strategy).transitions
    vectors = np.array([[1, 0]] * 3, dtype=np.float32)
    added = np.array([[0.8, 0.6], [0.6, 0.8]], dtype=np.float32)
    traces = trace_images(step.failures, additions(strategy), vectors, added)
    credited = credit_groups(traces, additions(strategy))
    return told(strategy, traces={"r01": traces}, credits={"r01": credited}, **changes)


def everything() -> Report:
    findings = {
        "finding": ["leak", "leak", "unreadable"],
        "image_id": ["f1", "f2", ""],
        "path": ["train/i/f1.png", "train/i/f2.png", "train/<img src=x>.png"],
        "split": "train",
        "label": NASTY,
        "value": [0.0, 0.25, float("nan")],
        "other_id": ["f3", "f4", ""],
        "other_split": "val",
        "other_label": "i",
        "detail": ["same file", "", "cut short"],
    }
    scores = {
        "image_id": ["s1", "s2", "s3"],
        "path": "train/i/s.png",
        "split": "train",
        "label": "i",
        "suggested_label": [NASTY, "i", "i"],
        "label_score": [0.125, 0.5, 0.9],
        "is_label_issue": [True, False, False],
        "outlier_score": [0.9, 0.5, 0.0375],
        "is_outlier_issue": [False, False, True],
    }
    return attributed(
        control=rounds("random", -0.25),
        audit={"shift": {"auc": 0.51234567}, "n_leaks": 2, "worst": None},
        findings=pd.DataFrame(findings),
        scores=pd.DataFrame(scores),
        map_picture=encode_png(np.zeros((4, 4, 1), dtype=np.uint8)),
    )


def test_a_failure_stands_beside_its_additions_and_their_parents() -> None:
    seen = Seen(report_page(told(), read, RULES))
    assert seen.pictures() == [
        "i q1",
        "added: i n1",
        "parent: i pa",
        f"added: {NASTY} n2",
        f"parent: {NASTY} pmissing (no picture)",
        f"{NASTY} q3",
        "i q2",
    ]
    words = " ".join(seen.text.split())
    assert f"was {NASTY}, now i i 0.988 {NASTY} 0.988" in words
    assert "nothing was fetched for it" in words  # for q3
    assert "2 additions; 1 fixed , 1 still wrong , 1 newly wrong" in words


def test_names_are_escaped_wherever_they_stand() -> None:
    page = report_page(everything(), read, RULES)
    seen = Seen(page)
    assert '<b>&"' not in page
    assert "<img src=x" not in page
    assert NASTY in seen.text
    assert [a["src"][:22] for tag, a in seen.tags if tag == "img" and a["src"]] == [
        "data:image/png;base64,"
    ]


def test_nothing_lies_outside_of_the_page_but_the_map() -> None:
    seen = Seen(report_page(everything(), read, RULES))
    links = {a.get("href") for tag, a in seen.tags if tag in ("a", "link")}
    parts = {"#accuracy", "#confusion", "#rounds", "#audit", "#suspects", "#map"}
    assert links == parts | {"map.html", "data:,"}
    assert parts <= {f"#{name}" for name in seen.ids()}
    assert not [tag for tag, _ in seen.tags if tag in ("script", "iframe")]


def test_parts_that_are_absent_are_left_out() -> None:
    seen = Seen(report_page(told(transitions=[]), read, RULES))
    assert seen.ids() & {"rounds", "audit", "suspects", "map"} == set()
    assert "No control is at hand" in seen.text


def test_the_control_stands_beside_the_run() -> None:
    page = report_page(everything(), read, RULES)
    seen = Seen(page)
    words = " ".join(seen.text.split())
    assert "this run (nearest) control (random)" in words
    assert "r01 random 3 1" in words
    assert page.count('<g class="control">') == page.count('<g class="own">') == 2
    assert "r01 (nearest): 0.750, 0.650 to 0.850, 4 images" in words
    assert "No control is at hand" not in words


def test_the_axis_holds_the_control_too() -> None:
    page = report_page(told(control=rounds("random", 0.2).assign(high=0.98)), read, RULES)
    heights = [float(y) for y in re.findall(r'y[12]="(-?[\d.]+)"', page)]
    assert min(heights) >= 12
    assert ">100%</text>" in page


def test_doubts_about_the_control_stand_before_the_charts() -> None:
    seen = Seen(report_page(told(doubts=[f"of {NASTY}"]), read, RULES))
    words = " ".join(seen.text.split())
    assert words.index(f"of {NASTY}") < words.index("accuracy may flatter")
    assert words.count("accuracy may flatter") == 1  # of val


def test_a_round_that_adds_nothing_is_told_apart() -> None:
    right = sheet(["i", "i", NASTY])
    step = transition("r00", "r01", right, right, ADDITIONS.empty(), ["i", NASTY])
    same = rounds().assign(n_additions=0)
    seen = Seen(
        report_page(told(transitions=[step], rounds=same, stops={"r01": "why"}), read, RULES)
    )
    words = " ".join(seen.text.split())
    assert "0 additions (why, so r01 is the model of r00 again); 0 fixed" in words
    assert "hollow: nothing was added" in words
    assert [a.get("class") for tag, a in seen.tags if tag == "circle"] == [None, "again"] * 2
    seen = Seen(report_page(told(stops={"r01": "why"}), read, RULES))
    assert "2 additions (why); 1 fixed" in " ".join(seen.text.split())
    assert "hollow" not in seen.text


def test_pictures_are_of_the_latest_three_rounds() -> None:
    (step,) = attributed().transitions
    credited = attributed().credits["r01"]

    def page(n_rounds: int) -> str:
        names = [f"r{number:02d}" for number in range(n_rounds)]
        steps = [replace(step, before=a, after=b) for a, b in pairwise(names)]
        credits_ = dict.fromkeys(names[1:], credited)
        return report_page(told(transitions=steps, credits=credits_), read, RULES)

    pictures = [len(Seen(page(n_rounds)).pictures()) for n_rounds in (2, 3, 4, 5, 9)]
    assert pictures == [pictures[0] * n for n in (1, 2, 3, 3, 3)]
    words = " ".join(Seen(page(6)).text.split())
    assert "data/rounds/r01/evaluation/sheet.csv" in words  # of r01 to r02
    assert words.count("Pictures are shown of the latest 3 rounds") == 2
    assert words.count("1 fixed , 1 still wrong , 1 newly wrong") == 5
    assert "Pictures are shown" not in page(4)


def test_at_most_ten_additions_are_shown_beside_an_image() -> None:
    for n in (10, 11):
        many = additions().loc[[0] * n].assign(image_id=[f"n{number:02d}" for number in range(n)])
        after = sheet(["i", NASTY, "i"])
        step = transition("r00", "r01", sheet([NASTY, "i", "i"]), after, many, ["i", NASTY])
        seen = Seen(report_page(told(transitions=[step]), read, RULES))
        assert len([name for name in seen.pictures() if name.startswith("added")]) == 10
        assert ("and 1 more" in seen.text) == (n == 11)


def test_of_many_classes_those_with_most_failures_are_listed() -> None:
    (step,) = told().transitions
    columns = list(step.by_class.columns)

    def classes_shown(by_class: pd.DataFrame) -> tuple[list[str], str]:
        steps = [replace(step, by_class=by_class)]
        words = " ".join(Seen(report_page(told(transitions=steps), read, RULES)).text.split())
        return re.findall(r"class \d\d", words), words

    rows = [(f"class {k:02d}", 9, k % 7, 0, k % 7, 0, 0) for k in range(60)]
    every = pd.DataFrame(rows, columns=columns)
    order = sorted(range(60), key=lambda k: -(k % 7))
    shown, words = classes_shown(every)
    assert shown == [f"class {k:02d}" for k in order[:50]]
    assert "by class: the 50 of 60 with most failures" in words
    few = every.assign(n_failures=[int(k in (3, 4)) for k in range(60)], n_newly_wrong=0)
    assert classes_shown(few)[0] == ["class 03", "class 04"]
    shown, words = classes_shown(few.head(50))
    assert shown == [f"class {k:02d}" for k in range(50)]
    assert "with most failures" not in words


def test_the_picture_of_the_map_leads_to_the_map() -> None:
    tags = Seen(report_page(everything(), read, RULES)).tags
    place = next(number for number, (tag, _) in enumerate(tags) if tag == "img")
    assert tags[place - 1] == ("a", {"href": "map.html"})


def test_findings_name_what_their_number_is_and_count_regions() -> None:
    findings = everything().findings
    assert findings is not None
    rows = pd.concat([findings.iloc[[0]]] * 5, ignore_index=True).assign(
        finding="uneven region", value=0.01, detail=["region 3"] * 3 + ["region 5"] * 2
    )
    every = pd.concat([rows, findings.assign(finding=["near leak", "odd size", "unreadable"])])
    seen = Seen(report_page(replace(everything(), findings=every), read, RULES))
    words = " ".join(seen.text.split())
    assert "uneven region 2 regions, 5 images as examples" in words
    assert "p 0.01; region 3" in words
    assert "similarity 0; same file" in words
    assert "oddness 0.25" in words
    assert "bytes" not in words  # its size is not known
    assert "cut short train/" in words


def test_random_additions_are_shown_for_no_failure() -> None:
    seen = Seen(report_page(told("random"), read, RULES))
    assert "chosen for no failure in particular" in seen.text
    assert seen.pictures() == ["i q1", f"{NASTY} q3", "i q2"]


def test_what_is_newly_wrong_stands_beside_what_it_traces_to() -> None:
    seen = Seen(report_page(attributed(), read, RULES))
    n1, n2 = (
        ["added: i n1", "parent: i pa"],
        [f"added: {NASTY} n2", f"parent: {NASTY} pmissing (no picture)"],
    )
    shown = seen.pictures()
    assert shown[-15:] == ["i q1", *n1, *n2, f"{NASTY} q3", *n1, *n2, "i q2", *n2, *n1]
    words = " ".join(seen.text.split())
    assert "nothing was fetched for it; near it: i 0.800" in words  # for q3
    assert f"was right, now {NASTY} {NASTY} 0.600 i 0.800" in words  # q2: what speaks for it first
    assert "no proof of cause" in words


def test_random_additions_are_shown_beside_what_traces_to_them() -> None:
    seen = Seen(report_page(attributed("random"), read, RULES))
    assert "nothing was fetched" not in seen.text
    assert [name for name in seen.pictures() if "added" in name][:2] == [
        "added: i n1", f"added: {NASTY} n2",
    ]  # fmt: skip
    assert seen.text.count("0.800") == 3


def test_traced_images_are_counted_by_outcome_class_parent_and_query() -> None:
    seen = Seen(report_page(attributed(), read, RULES))
    words = " ".join(seen.text.split())
    assert "outcome images traced fixed 1 1 100.0% still wrong 1 1 100.0% newly wrong 1 1" in words
    # n1 is of class i, for which nothing was newly taken; n2 of the other, which q2 is taken for.
    assert "added traced: fixed taken for it i 2 1 1 0 1 1 1 0 " in words
    assert f" {NASTY} 1 1 0 1 0 1 0 1 " in words
    parents = words.partition("Training images that the additions were drawn from")[2]
    assert parents.startswith(
        " by the images traced to their additions more fixed than newly wrong i 1 added 1 fixed , "
        f"0 newly wrong more newly wrong than fixed {NASTY} 1 added 0 fixed , 1 newly wrong"
    )
    assert "Failures that asked for additions" not in words  # q1: one fixed, one newly wrong


def test_a_mirrored_addition_leaves_its_parent_the_label_it_has() -> None:
    seen = Seen(report_page(attributed(labels={"pa": "xi", "pmissing": NASTY}), read, RULES))
    assert seen.pictures()[:2] == ["xi pa", f"{NASTY} pmissing (no picture)"]  # outstanding
    assert "added: i n1" in seen.pictures()
    assert {name for name in seen.pictures() if name.startswith("parent")} == {
        "parent: xi pa", f"parent: {NASTY} pmissing (no picture)",
    }  # fmt: skip


def test_at_most_eight_groups_a_side_and_the_farthest_apart_first() -> None:
    (step,) = attributed().transitions
    numbers = range(10)
    fetched = pd.DataFrame(
        {"parent_id": [f"{kind}{k}" for k in numbers for kind in "gb"], "label": "i"}
        | {"query_id": "q1", "query_label": "v"}
    )
    rows = [("parent", f"g{k}", 1, 9, k) for k in numbers]
    rows += [("parent", f"b{k}", 1, 0, 11 - k) for k in reversed(numbers)]
    credited = CREDITS.frame(dict(zip(CREDITS.columns, zip(*rows, strict=True), strict=True)))
    labels = dict.fromkeys(fetched["parent_id"], "i")
    (parents,) = outstanding(replace(step, fetched=fetched), credited, labels)
    shown = [[row["name"] for row in side] for _, side in parents["sides"]]
    assert shown == [[f"g{k}" for k in range(8)], [f"b{k}" for k in range(8)]]
    assert {row["label"] for _, side in parents["sides"] for row in side} == {"i"}


def test_a_round_without_additions_and_failures() -> None:
    right = sheet(["i", "i", NASTY])
    step = transition("r00", "r01", right, right, ADDITIONS.empty(), ["i", NASTY])
    words = " ".join(Seen(report_page(told(transitions=[step]), read, RULES)).text.split())
    assert "0 additions; 0 fixed , 0 still wrong , 0 newly wrong" in words
    assert "for no failure" not in words


def test_long_lists_are_cut_with_a_word_about_the_rest() -> None:
    rules = RULES.model_copy(update={"findings": 1, "suspects": 2, "outliers": 1})
    seen = Seen(report_page(everything(), read, rules))
    assert "and 1 more, in data/audit/findings.csv" in seen.text
    assert [name.split()[-1] for name in seen.pictures()[-5:]] == ["f1", "f3", "s1", "s2", "s3"]
    transitions = everything().transitions[0]
    many = transitions.failures.loc[[0, 0, 0]].reset_index(drop=True)
    step = transition("r00", "r01", sheet(["v"] * 3), sheet(["v"] * 3), additions(), ["i"])
    assert len(many) == len(step.failures) == 3
    rules = RULES.model_copy(update={"failures": 1})
    words = Seen(report_page(told(transitions=[step]), read, rules)).text
    assert "and 2 more, in the image sheets" in words


def test_the_worst_suspects_come_first() -> None:
    seen = Seen(report_page(everything(), read, RULES))
    assert [name.split()[-1] for name in seen.pictures()[-6:]] == [
        *("s1", "s2", "s3"),  # by label score
        *("s3", "s2", "s1"),  # by outlier score
    ]
    words = " ".join(seen.text.split())
    assert f"train: i → {NASTY} 0.125" in words
    assert "1 flagged; showing 3, 1 of them flagged" in words


def test_what_is_flagged_comes_before_worse_scores_and_says_so() -> None:
    scores = everything().scores
    assert scores is not None
    scores = scores.assign(is_label_issue=[False, False, True])
    rules = RULES.model_copy(update={"suspects": 2, "outliers": 1})
    seen = Seen(report_page(replace(everything(), scores=scores), read, rules))
    assert [name.split()[-1] for name in seen.pictures()[-3:]] == ["s3", "s1", "s3"]
    words = " ".join(seen.text.split())
    assert "1 flagged; showing 2, 1 of them flagged" in words
    assert "train: i 0.900 flagged train: i" in words
    assert words.count("0.125 flagged") == 0
    assert [a.get("class") for tag, a in seen.tags if tag == "figure"][-3:] == [
        "flagged", None, "flagged",
    ]  # fmt: skip


def test_figures_of_the_audit_are_flattened() -> None:
    words = " ".join(Seen(report_page(everything(), read, RULES)).text.split())
    assert "shift.auc 0.5123 n_leaks 2 worst" in words


def test_no_matrix_of_many_classes_but_the_commonest_confusions() -> None:
    classes = [f"class {number:02d}" for number in range(31)]
    seen = Seen(report_page(told(classes=classes), read, RULES))
    assert "31 classes are too many for a matrix" in seen.text
    assert not [a for tag, a in seen.tags if a.get("class") == "matrix"]
    assert len([a for tag, a in seen.tags if tag == "td" and a.get("class") == "left"]) == 30


def test_pairs_that_the_counts_leave_out_are_zeros() -> None:
    every = confusions(["i", NASTY])
    every.loc[(every["round"] == "r00") & (every["label"] == "i"), "n_images"] = [0, 2] * 2
    some = every[every["n_images"] > 0]
    assert len(some) == len(every) - 2
    pages = [report_page(told(confusions=counts), read, RULES) for counts in (every, some)]
    assert pages[0] == pages[1]


def test_the_same_page_for_the_same_input() -> None:
    assert report_page(everything(), read, RULES) == report_page(everything(), read, RULES)


def test_a_picture_is_embedded_once() -> None:
    page = report_page(everything(), read, RULES)
    shown = Seen(page).pictures()
    assert page.count("background-image") == len({name.split()[-1] for name in shown}) - 1
    assert len(shown) > len({name.split()[-1] for name in shown})


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_opens_it_without_errors_or_requests(tmp_path: Path, dark: bool) -> None:
    page = tmp_path / "report.html"
    # A script of the test's own counts the requests, and measures the page on a narrow screen.
    probe = (
        "<script>addEventListener('load', () => { document.body.dataset.seen = JSON.stringify({"
        "requests: performance.getEntriesByType('resource').map(e => e.name)"
        ".filter(n => !n.startsWith('data:')), dark: matchMedia('(prefers-color-scheme: dark)')"
        ".matches, wide: document.documentElement.scrollWidth > innerWidth}) })</script>"
    )
    page.write_text(report_page(everything(), read, RULES) + probe, encoding="utf-8")
    command = [
        str(CHROMIUM),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--window-size=500,900", "--enable-logging=stderr", "--virtual-time-budget=3000"),
        *(["--blink-settings=preferredColorScheme=0"] if dark else []),
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    seen = f'{{"requests":[],"dark":{str(dark).lower()},"wide":false}}'
    assert f'data-seen="{seen.replace(chr(34), "&quot;")}"' in done.stdout
