"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const n = data.ids.length;
  const stage = at("stage"), over = at("over"), card = at("card");
  const base = at("points").getContext("2d"), front = over.getContext("2d");
  // Paul Tol's bright colours and a grey; see map_picture.py.
  const BLUE = "#4477aa", CYAN = "#66ccee", GREEN = "#228833", YELLOW = "#ccbb44", RED = "#ee6677", PURPLE = "#aa3377";
  const GREY = "#8b97a5";
  const heldout = Uint8Array.from(data.split, (k) => data.heldout.includes(data.splits[k]));
  const name = (k) => (k < 0 ? "" : data.classes[k]);
  const added = (i) => data.round[i] > 0;

  // --- what points can be coloured by: {title, names, colours, of(i) -> number of a category} ---
  const few = data.classes.length <= data.colours.classes.length;
  const classColour = (k) => few ? data.colours.classes[k]
    : `hsl(${(k * 137.508) % 360} 62% ${[48, 60, 40][k % 3]}%)`;
  const roundColour = (k, all) => k === 0 ? GREY : `hsl(${35 + (270 * (k - 1)) / Math.max(all - 1, 1)} 75% 52%)`;
  function byCorrectness(title, predicted) {
    return { title, names: ["right", "misclassified", "not evaluated"], colours: [BLUE, RED, GREY],
      of: (i) => (predicted[i] < 0 ? 2 : predicted[i] === data.label[i] ? 0 : 1) };
  }
  const last = data.rounds[data.rounds.length - 1];
  const modes = {
    split: { title: "split", names: Object.keys(data.colours.splits), colours: Object.values(data.colours.splits),
      of: (i) => ({ train: added(i) ? 1 : 0, val: 2, test: 3, label_book: 4 })[data.splits[data.split[i]]] },
    label: { title: "class", names: data.classes, colours: data.classes.map((_, k) => classColour(k)),
      of: (i) => data.label[i] },
    round: { title: "round", names: data.rounds, colours: data.rounds.map((_, k) => roundColour(k, data.rounds.length)),
      of: (i) => data.round[i] },
    correct: byCorrectness(`correctness (${last})`, data.predicted),
  };
  if (data.rounds.length > 1) {
    const right = (list, i) => list[i] === data.label[i];
    modes.change = { title: `change from ${data.rounds[0]} to ${last}`,
      names: ["right in both", "fixed", "broken", "wrong in both", "added since"],
      colours: [GREY, GREEN, PURPLE, RED, CYAN],
      of: (i) => data.first[i] < 0 ? 4 : right(data.first, i) ? (right(data.predicted, i) ? 0 : 2)
        : (right(data.predicted, i) ? 1 : 3) };
  }
  if (data.score.some((score) => score !== null)) {
    modes.score = { title: "label score", names: ["0 to 0.2: suspect", "0.2 to 0.4", "0.4 to 0.6", "0.6 to 0.8",
      "0.8 to 1", "no score"], colours: [PURPLE, RED, YELLOW, CYAN, BLUE, GREY],
      of: (i) => data.score[i] === null ? 5 : Math.min(4, Math.floor(data.score[i] * 5)) };
  }
  for (const mode of Object.values(modes)) {
    mode.category = Int32Array.from({ length: n }, (_, i) => mode.of(i));
    mode.counts = mode.names.map(() => 0);
    mode.isSquare = mode.names.map(() => true);
    mode.category.forEach((k, i) => { mode.counts[k] += 1; mode.isSquare[k] &&= heldout[i] > 0; });
    mode.hidden = new Set();
  }

  // --- state ---
  let mode = modes.split, lassoMode = false, hovered = -1, frame = 0, path = null;
  let view = { scale: 1, x: 0, y: 0 }, width = 0, height = 0, ratio = 1;
  let visible = new Uint8Array(n).fill(1), selected = new Set();
  const bounds = (list) => list.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  const [left, right] = n ? bounds(data.x) : [0, 1], [low, high] = n ? bounds(data.y) : [0, 1];
  const px = (i) => data.x[i] * view.scale + view.x, py = (i) => -data.y[i] * view.scale + view.y;
  const radius = () => (n > 3000 ? 2.2 : 3) * Math.min(2.6, Math.max(1, Math.sqrt(view.scale / home().scale)));

  function home() {
    const scale = 0.92 * Math.min(width / (right - left || 1), height / (high - low || 1));
    return { scale, x: width / 2 - (scale * (left + right)) / 2, y: height / 2 + (scale * (low + high)) / 2 };
  }
  function zoom(factor, x = width / 2, y = height / 2) {
    const scale = Math.min(Math.max(view.scale * factor, home().scale / 2), home().scale * 200);
    view = { scale, x: x - (x - view.x) * (scale / view.scale), y: y - (y - view.y) * (scale / view.scale) };
    redraw();
  }
  function redraw() { if (!frame) frame = requestAnimationFrame(draw); }

  // --- drawing ---
  // Points by category, the rare ones last and so on top.
  const ordered = () => mode.order ??= all().sort((a, b) => {
    const k = mode.category[a], j = mode.category[b];
    return mode.counts[j] - mode.counts[k] || k - j || a - b;
  });
  function put(i, reach) {
    const x = px(i) * ratio, y = py(i) * ratio;
    if (x < -reach || y < -reach || x > width * ratio + reach || y > height * ratio + reach) return;
    base.fillStyle = mode.colours[mode.category[i]];
    if (heldout[i]) { base.fillRect(x - reach, y - reach, 2 * reach, 2 * reach); return; }
    base.beginPath();
    base.arc(x, y, reach, 0, 7);
    base.fill();
  }
  function draw() {
    cancelAnimationFrame(frame);
    frame = 0;
    base.setTransform(1, 0, 0, 1, 0, 0);
    base.clearRect(0, 0, width * ratio, height * ratio);
    const reach = radius() * ratio;
    base.globalAlpha = selected.size ? 0.16 : 0.8;
    for (const i of ordered()) if (visible[i] && !selected.has(i)) put(i, reach);
    base.globalAlpha = 1;
    for (const i of selected) if (visible[i]) put(i, reach * 1.15);
    drawFront();
  }
  function drawFront() {
    front.setTransform(ratio, 0, 0, ratio, 0, 0);
    front.clearRect(0, 0, width, height);
    front.strokeStyle = getComputedStyle(document.body).color;
    front.lineWidth = 2;
    if (hovered >= 0) {
      front.beginPath();
      front.arc(px(hovered), py(hovered), radius() + 3, 0, 7);
      front.stroke();
    } else if (over.matches(":focus-visible")) { // the middle, which Enter starts from
      front.fillStyle = front.strokeStyle;
      front.fillRect(width / 2 - 8, height / 2 - 1, 16, 2);
      front.fillRect(width / 2 - 1, height / 2 - 8, 2, 16);
    }
    if (path) {
      front.beginPath();
      for (const [x, y] of path) front.lineTo(x, y);
      front.closePath();
      front.globalAlpha = 0.12;
      front.fillStyle = front.strokeStyle;
      front.fill();
      front.globalAlpha = 1;
      front.stroke();
    }
  }
  function resize() {
    const old = view.scale / (width ? home().scale : 1), was = { x: width / 2, y: height / 2 };
    ({ clientWidth: width, clientHeight: height } = stage);
    ratio = window.devicePixelRatio || 1;
    for (const pen of [base, front]) { pen.canvas.width = width * ratio; pen.canvas.height = height * ratio; }
    if (was.x) {
      const scale = home().scale * old, by = scale / view.scale;
      view = { scale, x: width / 2 - (was.x - view.x) * by, y: height / 2 - (was.y - view.y) * by };
    } else view = home();
    draw(); // at once: a canvas of a new size is empty
  }

  // --- one image: the card beside the pointer ---
  function thumb(i, side) {
    const element = document.createElement("span"), by = side / data.side;
    element.className = "thumb";
    element.style.cssText = `width:${side}px;height:${side}px;background-size:${data.columns * side}px auto;`
      + `background-position:${-(i % data.columns) * data.side * by}px ${-Math.floor(i / data.columns) * side}px`;
    return element;
  }
  function tell(i) {
    if (i === hovered) return;
    hovered = i;
    card.hidden = i < 0;
    drawFront();
    if (i < 0) return;
    const wrong = data.predicted[i] >= 0 && data.predicted[i] !== data.label[i];
    const told = [["label", name(data.label[i])], [`${last} says`, name(data.predicted[i]), wrong],
      ["suggested", data.suggested[i] === data.label[i] ? "" : name(data.suggested[i])],
      ["label score", data.score[i] === null ? "" : data.score[i].toFixed(3)],
      ["split", data.splits[data.split[i]]], ["added in", added(i) ? data.rounds[data.round[i]] : ""],
      ["for", data.query[i]], ["id", data.ids[i]]];
    const list = document.createElement("dl");
    for (const [term, text, bold] of told.filter((row) => row[1])) {
      const value = document.createElement("dd");
      list.append(Object.assign(document.createElement("dt"), { textContent: term }), value);
      value.textContent = text;
      value.className = bold ? "wrong" : "";
    }
    card.replaceChildren(thumb(i, 96), list);
    card.dataset.id = data.ids[i];
    const x = px(i) + 14, y = py(i) + 14;
    card.style.left = `${Math.max(4, x + card.offsetWidth > width ? px(i) - 14 - card.offsetWidth : x)}px`;
    card.style.top = `${Math.max(4, y + card.offsetHeight > height ? py(i) - 14 - card.offsetHeight : y)}px`;
    if (card.offsetLeft < px(i) + 8 && card.offsetLeft + card.offsetWidth > px(i) - 8
      && card.offsetTop < py(i) + 8 && card.offsetTop + card.offsetHeight > py(i) - 8) {
      card.style.top = py(i) > height / 2 ? "4px" : `${height - card.offsetHeight - 4}px`;
    }
  }
  function nearest(x, y, reach) {
    let found = -1, least = reach * reach;
    for (let i = 0; i < n; i += 1) {
      const distance = (px(i) - x) ** 2 + (py(i) - y) ** 2;
      if (visible[i] && distance <= least) { found = i; least = distance; }
    }
    return found;
  }

  // --- what is selected ---
  function select(list, add) {
    selected = new Set(add ? [...selected, ...list] : list);
    const chosen = [...selected].sort((a, b) => (data.ids[a] < data.ids[b] ? -1 : 1));
    const ids = [...new Set(chosen.map((i) => data.ids[i]))], text = ids.map((id) => `${id}\n`).join("");
    at("count").textContent = ids.length ? `${ids.length} ${ids.length === 1 ? "image" : "images"}` : "";
    at("chosen").hidden = !ids.length;
    at("hint").hidden = ids.length > 0;
    at("list").value = text;
    at("save").href = `data:text/plain;charset=utf-8,${encodeURIComponent(text)}`;
    const round = chosen.some(added) ? last : data.rounds[0];
    at("command").textContent = `databoost sheet ${round} --ids ~/Downloads/ids.txt -o sheets/lasso.xlsx`;
    const kept = chosen.filter((i) => heldout[i]).length;
    at("heldout").hidden = !kept;
    at("heldout").textContent = `${kept} of them held out (test, label book): no stage learns from these, and no sheet holds them.`;
    at("gallery").replaceChildren(...chosen.slice(0, 120).map((i) => {
      const button = document.createElement("button");
      button.title = `${data.ids[i]}: ${name(data.label[i])}`;
      button.append(thumb(i, 40));
      button.onclick = () => tell(i);
      return button;
    }));
    at("told").textContent = "";
    redraw();
  }
  function inside(i, polygon) {
    const x = px(i), y = py(i);
    let is = false;
    for (let k = 0, j = polygon.length - 1; k < polygon.length; j = k, k += 1) {
      const [ax, ay] = polygon[k], [bx, by] = polygon[j];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) is = !is;
    }
    return is;
  }
  const all = () => Array.from({ length: n }, (_, i) => i);
  function find(text) {
    const wanted = text.toLowerCase().split(/[\s,;]+/).filter(Boolean);
    const found = new Set(), lost = [];
    for (const word of wanted) {
      const hits = all().filter((i) => data.ids[i].startsWith(word));
      hits.forEach((i) => found.add(i));
      if (!hits.length) lost.push(word);
    }
    select([...found], false);
    if (found.size === 1) {
      const [i] = found;
      view = { ...view, x: width / 2 - data.x[i] * view.scale, y: height / 2 + data.y[i] * view.scale };
      hovered = -1;
      tell(i);
    }
    at("told").textContent = lost.length ? `not on this map: ${lost.slice(0, 20).join(", ")}` : "";
  }

  // --- the legend: a press hides a category, in every colouring at once ---
  function legend() {
    at("legend").replaceChildren(...mode.names.map((text, k) => {
      const item = document.createElement("li"), button = document.createElement("button");
      const mark = document.createElement("i"), label = document.createElement("span");
      mark.style.background = mode.colours[k];
      mark.classList.toggle("square", mode.isSquare[k]);
      label.textContent = text;
      const count = Object.assign(document.createElement("small"), { textContent: mode.counts[k].toLocaleString("en") });
      button.append(mark, label, count);
      button.setAttribute("aria-pressed", String(!mode.hidden.has(k)));
      button.title = "press: hide or show; double press: only this one";
      button.onclick = () => { if (!mode.hidden.delete(k)) mode.hidden.add(k); filter(); };
      button.ondblclick = () => {
        mode.hidden = new Set(mode.names.map((_, other) => other).filter((other) => other !== k));
        filter();
      };
      item.append(button);
      item.hidden = !mode.counts[k];
      return item;
    }));
  }
  function filter() {
    const filters = Object.values(modes).filter((one) => one.hidden.size);
    for (let i = 0; i < n; i += 1) visible[i] = filters.every((one) => !one.hidden.has(one.category[i])) ? 1 : 0;
    const shown = visible.reduce((sum, is) => sum + is, 0);
    at("shown").textContent = `${shown.toLocaleString("en")} of ${n.toLocaleString("en")} images`;
    at("all").hidden = !filters.length;
    [...at("legend").querySelectorAll("button")].forEach((button, k) =>
      button.setAttribute("aria-pressed", String(!mode.hidden.has(k))));
    redraw();
  }

  // --- pointers ---
  const fingers = new Map();
  let start = null, moved = false, pinch = 0;
  const place = (event) => {
    const box = over.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const span = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  over.addEventListener("pointerdown", (event) => {
    fingers.set(event.pointerId, place(event));
    try { over.setPointerCapture(event.pointerId); } catch { /* a pointer that is no more */ }
    moved = false;
    if (fingers.size === 2) { pinch = span(); path = null; start = null; return; }
    start = place(event);
    if (lassoMode || event.shiftKey) path = [start];
  });
  over.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    if (!fingers.has(event.pointerId)) { tell(nearest(x, y, 12)); return; }
    const before = fingers.get(event.pointerId);
    fingers.set(event.pointerId, [x, y]);
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()], now = span();
      if (pinch) zoom(now / pinch, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      pinch = now;
      moved = true;
    } else if (start) {
      if (Math.hypot(x - start[0], y - start[1]) > 4) moved = true;
      if (moved && hovered >= 0) tell(-1);
      if (path) { path.push([x, y]); drawFront(); }
      else if (moved) { view = { ...view, x: view.x + x - before[0], y: view.y + y - before[1] }; redraw(); }
    }
  });
  function lift(event) {
    if (!fingers.delete(event.pointerId)) return;
    const [x, y] = place(event);
    if (path && moved) {
      const polygon = path;
      path = null;
      select(all().filter((i) => visible[i] && inside(i, polygon)), event.shiftKey && selected.size > 0);
    } else if (start && !moved && event.type === "pointerup") {
      const i = nearest(x, y, 16);
      tell(i);
      if (i >= 0) select([i], event.shiftKey);
    }
    path = null;
    start = null;
    drawFront();
  }
  over.addEventListener("pointerup", lift);
  over.addEventListener("pointercancel", lift);
  over.addEventListener("pointerleave", () => tell(-1));
  over.addEventListener("wheel", (event) => {
    event.preventDefault();
    tell(-1);
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...place(event));
  }, { passive: false });
  over.addEventListener("dblclick", (event) => zoom(2, ...place(event)));

  // --- keys ---
  const STEP = 60, steps = { ArrowLeft: [STEP, 0], ArrowRight: [-STEP, 0], ArrowUp: [0, STEP], ArrowDown: [0, -STEP] };
  const zooms = { "+": 1.5, "=": 1.5, "-": 1 / 1.5 };
  over.addEventListener("keydown", (event) => {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || !(key in steps || key in zooms || key === "Enter")) return;
    event.preventDefault();
    if (key === "Enter") {
      const i = hovered >= 0 ? hovered : nearest(width / 2, height / 2, Infinity);
      tell(i);
      if (i >= 0) select([i], event.shiftKey);
      return;
    }
    tell(-1);
    if (key in zooms) { zoom(zooms[key]); return; }
    view = { ...view, x: view.x + steps[key][0], y: view.y + steps[key][1] };
    redraw();
  });
  over.addEventListener("focus", drawFront);
  over.addEventListener("blur", drawFront);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.nodeName)) return;
    if (hovered >= 0) tell(-1); else select([], false);
  });

  // --- controls ---
  function drag(lasso) {
    lassoMode = lasso;
    at("lasso").setAttribute("aria-pressed", String(lasso));
    at("pan").setAttribute("aria-pressed", String(!lasso));
    over.classList.toggle("lasso", lasso);
  }
  at("lasso").onclick = () => drag(true);
  at("pan").onclick = () => drag(false);
  at("closer").onclick = () => zoom(1.5);
  at("farther").onclick = () => zoom(1 / 1.5);
  at("whole").onclick = () => { view = home(); tell(-1); redraw(); };
  at("clear").onclick = () => select([], false);
  at("all").onclick = () => { Object.values(modes).forEach((one) => one.hidden.clear()); filter(); };
  at("search").onsubmit = (event) => { event.preventDefault(); find(at("ids").value); };
  at("copy").onclick = async () => {
    at("list").select();
    try { await navigator.clipboard.writeText(at("list").value); } catch { document.execCommand("copy"); }
    at("told").textContent = `${at("count").textContent} copied`;
  };
  for (const [key, one] of Object.entries(modes)) at("colour").append(new Option(one.title, key));
  at("colour").onchange = () => { mode = modes[at("colour").value]; legend(); filter(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  new ResizeObserver(resize).observe(stage);
  at("shapes").hidden = !heldout.includes(1);
  legend();
  filter();
  resize();
})();
