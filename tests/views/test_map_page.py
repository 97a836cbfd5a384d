"""The map's page and picture: what they hold, and that the page works in a browser."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from databoost.data.images import decode
from databoost.data.tables import MAP
from databoost.views.map_page import map_page
from databoost.views.map_picture import CLASS_COLOURS, SPLIT_COLOURS, map_picture
from databoost.views.sprites import sprite_sheet

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ODD = ["</script><b>&\"'", "iv ü {{style}} $x$", "_"]
ROUNDS = ("r00", "r01")


def points(n: int = 9) -> pd.DataFrame:
    """A grid of points, three a row; the last third was added in r01."""
    number = np.arange(n)
    is_added = number >= n - n // 3
    return MAP.frame(
        {
            "image_id": [f"{k:016x}" for k in number],
            "path": [f"train/x/{k:016x}.png" for k in number],
            "split": np.where(number % 3 == 1, "val", "train"),
            "label": [ODD[k % 3] for k in number],
            "predicted_label": [ODD[k % 2] for k in number],
            "is_misclassified": number % 3 != number % 2,
            "first_predicted_label": np.where(is_added, "", ODD[0]),
            "suggested_label": np.where(is_added, "", ODD[1]),
            "label_score": np.where(is_added, np.nan, number / n),
            "origin": np.where(is_added, "nearest", "raw"),
            "round_added": np.where(is_added, "r01", "r00"),
            "query_id": np.where(is_added, f"{1:016x}", ""),
            "x": (number % 3).astype(float),
            "y": (number // 3).astype(float),
        }
    )


def page_of(table: pd.DataFrame, n_images: int | None = None) -> str:
    sprite = sprite_sheet([np.zeros((8, 8, 1), dtype=np.uint8)] * len(table), 8)
    return map_page(table, ODD, ROUNDS, sprite, 8, n_images or len(table))


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_holds_the_points() -> None:
    data = data_of(page_of(points()))
    assert data["classes"] == ODD
    assert data["label"] == [0, 1, 2] * 3
    assert data["first"] == [0] * 6 + [-1] * 3
    assert data["round"] == [0] * 6 + [1] * 3
    assert data["score"][6:] == [None] * 3
    assert (data["side"], data["columns"]) == (8, 3)


def test_the_page_has_the_colours_of_the_picture() -> None:
    told = data_of(page_of(points()))
    assert told["colours"] == {"classes": list(CLASS_COLOURS), "splits": SPLIT_COLOURS}
    assert list(told["colours"]["splits"]) == list(SPLIT_COLOURS)  # the legend's order
    assert told["heldout"] == ["test", "label_book"]


def test_names_make_no_elements() -> None:
    parser = Elements()
    parser.feed(page_of(points()))
    assert [tag for tag, _ in parser.found].count("script") == 2
    ours = [tag for tag, _ in parser.found if tag == "b"]
    assert len(ours) == 1  # of the page itself


def test_nothing_is_asked_of_a_server() -> None:
    parser = Elements()
    page = page_of(points())
    parser.feed(page)
    for _, attributes in parser.found:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert not re.search(r"https?://", page)


def test_a_sample_is_named_one() -> None:
    assert "A sample of 9 of 1,234 images" in page_of(points(), 1234)
    assert "9 images." in page_of(points())


def test_the_same_points_give_the_same_bytes() -> None:
    assert page_of(points()) == page_of(points())
    assert map_picture(points(), ODD, "r01") == map_picture(points(), ODD, "r01")


def test_the_picture_takes_any_number_of_classes() -> None:
    assert decode(map_picture(points(), ODD, "r01")).shape == (820, 1600, 3)
    many = ODD + [f"class {number}" for number in range(30)]
    assert decode(map_picture(points(), many, "r01")).shape == (820, 1600, 3)


def test_each_outcome_has_its_colour() -> None:
    many = ODD + [f"class {number}" for number in range(30)]
    for is_misclassified in (False, True):
        table = points().assign(is_misclassified=is_misclassified)
        pixels = decode(map_picture(table, many, "r01"))[:, 800:]  # of the panel on the right
        is_red = (pixels == np.array([238, 102, 119])).all(axis=2)
        assert is_red.any() == is_misclassified


#: Hovers over the middle point, draws around the lower six, finds one by its id.
PLAY = """<script>
const told = {}, faults = [];
addEventListener("error", (event) => faults.push(event.message));
addEventListener("securitypolicyviolation", (event) => faults.push(event.blockedURI));
setTimeout(() => {
  const at = (id) => document.getElementById(id), over = at("over");
  const box = over.getBoundingClientRect();
  const fire = (type, x, y, more = {}) => over.dispatchEvent(new PointerEvent(type,
    { clientX: box.left + x, clientY: box.top + y, pointerId: 1, bubbles: true, ...more }));
  const wide = box.width, high = box.height;
  fire("pointermove", wide / 2, high / 2);
  told.card = at("card").textContent;
  told.thumb = at("card").querySelectorAll(".thumb").length;
  at("lasso").click();
  fire("pointerdown", 1, high * 0.3);
  for (const [x, y] of [[wide - 1, high * 0.3], [wide - 1, high - 1], [1, high - 1]]) {
    fire("pointermove", x, y);
  }
  fire("pointerup", 1, high - 1);
  told.lasso = at("list").value.split("\\n").filter(Boolean);
  told.command = at("command").textContent;
  told.where = at("command").previousElementSibling.textContent;
  told.saved = decodeURIComponent(at("save").href);
  told.modes = [...at("colour").options].map((option) => option.textContent);
  at("legend").querySelector("button").click();
  told.shown = at("shown").textContent;
  at("ids").value = "0000000000000008 nothing";
  at("search").requestSubmit();
  told.found = at("list").value.trim();
  told.round = at("command").textContent;
  told.lost = at("told").textContent;
  told.legend = [];
  at("colour").value = "label";
  at("colour").dispatchEvent(new Event("change"));
  told.legend = [...at("legend").querySelectorAll("span")].map((span) => span.textContent);
  told.wide = document.documentElement.scrollWidth <= innerWidth;
  told.requests = performance.getEntriesByType("resource").map((entry) => entry.name)
    .filter((name) => !name.startsWith("data:"));
  told.faults = faults;
  const result = document.createElement("textarea");
  result.id = "result";
  result.textContent = JSON.stringify(told);
  document.body.append(result);
}, 300);
</script></body>"""
#: Does the same by keys, and counts what a frame draws.
KEYS = """<script>
const told = {};
setTimeout(async () => {
  const at = (id) => document.getElementById(id), over = at("over");
  const press = (key, target = over) => !target.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  window.requestAnimationFrame = (draw) => setTimeout(draw, 10); // else none while time is virtual
  const frame = () => new Promise((done) => setTimeout(done, 100));
  const ids = () => at("list").value.split("\\n").filter(Boolean);
  const count = { canvases: 0, squares: 0, discs: 0, reach: 0 };
  const create = document.createElement.bind(document);
  document.createElement = (name) => { count.canvases += name === "canvas"; return create(name); };
  const pen = CanvasRenderingContext2D.prototype, { arc, fillRect } = pen;
  pen.arc = function (...all) {
    if (this.canvas === at("points")) { count.discs += 1; count.reach = all[2]; }
    return arc.apply(this, all);
  };
  pen.fillRect = function (...all) {
    if (this.canvas === at("points")) { count.squares += 1; count.reach = all[2] / 2; }
    return fillRect.apply(this, all);
  };
  over.focus();
  told.taken = ["Enter", "ArrowLeft", "ArrowRight", "a"].map((key) => press(key));
  press("Enter");
  told.middle = ids();
  told.card = at("card").hidden ? "" : at("card").textContent;
  told.role = at("card").getAttribute("role");
  press("Escape", at("ids"));
  told.inField = [ids().length, at("card").hidden];
  press("Escape");
  told.once = [ids().length, at("card").hidden];
  press("Escape");
  told.twice = ids().length;
  const box = over.getBoundingClientRect();
  const apart = 0.46 * Math.min(box.width, box.height);
  for (let way = 0; way + 30 < apart; way += 60) press("ArrowRight");
  press("Enter");
  told.right = ids();
  press("Escape");
  press("Escape");
  await frame();
  Object.assign(count, { canvases: 0, squares: 0, discs: 0 });
  press("-");
  await frame();
  told.drawn = { ...count };
  for (const key of "+++") press(key);
  await frame();
  told.larger = count.reach > told.drawn.reach;
  told.square = [...at("legend").querySelectorAll("li")].filter((item) => !item.hidden)
    .map((item) => [item.querySelector("span").textContent, !!item.querySelector(".square")]);
  told.shapes = !at("shapes").hidden;
  const result = create("textarea");
  result.id = "result";
  result.textContent = JSON.stringify(told);
  document.body.append(result);
}, 300);
</script></body>"""


def played(folder: Path, page: str, play: str, width: int) -> tuple[dict[str, Any], str]:
    """Open a page in a browser with a script of ours; give what that told, and the browser."""
    file = folder / "map.html"
    file.write_text(page.replace("</body>", play), encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr",
            f"--window-size={width},800", "--virtual-time-budget=3000", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.search(r'<textarea id="result">(.*?)</textarea>', done.stdout, re.DOTALL)
    assert found, done.stderr
    told: dict[str, Any] = json.loads(unescape(found[1]))
    return told, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")
@pytest.mark.parametrize("width", [1200, 500])
def test_hover_lasso_and_search_work_in_a_browser(tmp_path: Path, width: int) -> None:
    told, errors = played(tmp_path, page_of(points()), PLAY, width)
    assert told["faults"] == told["requests"] == []
    assert "CONSOLE" not in errors
    assert f"{4:016x}" in told["card"]
    assert ODD[1] in told["card"]
    assert told["thumb"] == 1
    assert told["lasso"] == [f"{number:016x}" for number in range(6)]
    assert told["saved"].endswith("".join(f"{number:016x}\n" for number in range(6)))
    assert told["command"] == "databoost sheet r00 --ids ~/Downloads/ids.txt -o sheets/lasso.xlsx"
    assert "in the project's folder" in told["where"]
    assert told["modes"] == [
        "split", "class", "round", "correctness (r01)", "change from r00 to r01", "label score",
    ]  # fmt: skip
    assert told["shown"] == "5 of 9 images"
    assert told["found"] == f"{8:016x}"
    assert told["round"] == "databoost sheet r01 --ids ~/Downloads/ids.txt -o sheets/lasso.xlsx"
    assert told["lost"] == "not on this map: nothing"
    assert told["legend"] == ODD
    assert told["wide"]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium is installed")
def test_keys_and_shapes_work_in_a_browser(tmp_path: Path) -> None:
    table = points()
    table.loc[table.index % 3 == 2, ["split", "round_added"]] = ["test", "r00"]
    told, errors = played(tmp_path, page_of(table), KEYS, 1200)
    assert "CONSOLE" not in errors
    assert told["taken"] == [True, True, True, False]
    assert told["middle"] == [f"{4:016x}"]
    assert f"{4:016x}" in told["card"]
    assert told["role"] == "status"
    assert told["inField"] == [1, False]
    assert told["once"] == [1, True]
    assert told["twice"] == 0
    assert told["right"] == [f"{5:016x}"]
    assert told["drawn"] | {"reach": 0} == {"canvases": 0, "squares": 3, "discs": 6, "reach": 0}
    assert told["larger"]
    assert told["square"] == [
        ["train", False], ["train, added", False], ["val", False], ["test", True],
    ]  # fmt: skip
    assert told["shapes"]
