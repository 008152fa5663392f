// The page around the canvas. Every text of the report is set as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const MARKS = { ok: "✓ ok", bad: "✗ bad", note: "! note", none: "–" };
const ROW = 24;

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const seconds = (ns) => (ns / 1e9).toFixed(9) + " s";
// Events of lanes that are not there are shown all the same.
const laneName = (run, event) => (run.lanes[event[LANE]] || { label: "?" }).label;
const mark = (name) => el("span", { class: "mark " + name }, MARKS[name] || name);

const hidden = new Set();
const shows = (event) => !hidden.has(event[CATEGORY]);
let selection = null;
const timeline = createTimeline({
  data, canvas: $("canvas"), gutter: $("gutter"), shows, onSelect, onHover, onView,
});

function verdict() {
  document.title = data.title;
  $("title").textContent = data.title;
  $("verdict").className = data.outcome;
  $("verdict").append(el("strong", {}, data.outcome_word), data.sentence);
}

function runs() {
  $("runs").append(...data.runs.map((run, r) => el("article", { class: "run " + run.health },
    el("h3", {}, run.name),
    el("p", { class: "soft" }, run.behaviour),
    el("p", { class: "sentence" }, mark(run.health), run.sentence,
      ...(run.outcome === "expected" ? [] : [" (" + run.outcome_word + ")"])),
    el("ol", {}, ...run.decisive.map((item, number) => el("li", {},
      el("button", { type: "button", "data-run": r, "data-event": item.event, onclick: () => show(r, item.event) },
        el("span", { class: "badge " + item.mark, "aria-label": (MARKS[item.mark] || "") + ", number " + (number + 1) },
          String(number + 1)),
        el("time", {}, (run.events[item.event][AT] / 1e9).toFixed(6) + " s"),
        el("span", {}, item.meaning))))))));
}

// Goes to an event: a decisive one is looked at closely.
function show(run, event) {
  timeline.select({ run, event }, "near");
  $("stage").scrollIntoView({ block: "nearest" });
  $("canvas").focus({ preventScroll: true });
}

function comparison() {
  const head = el("thead", {},
    el("tr", {}, el("td", { rowspan: 2 }), ...data.runs.map((run) => el("th", { colspan: 2, scope: "colgroup" }, run.name))),
    el("tr", {}, ...data.runs.flatMap(() => [el("th", { scope: "col" }, "hypervisor's side"), el("th", { scope: "col" }, "guest's side")])));
  const cell = (run, side, name, first) => el("td",
    { class: (first ? "first " : "") + (side ? side.mark : ""), "data-label": run.name + ", " + name },
    ...(side ? [mark(side.mark), side.text] : ["–"]));
  const body = el("tbody", {}, ...data.subjects.map((subject, row) => el("tr", {}, el("th", { scope: "row" }, subject),
    ...data.runs.flatMap((run) => [cell(run, run.findings[row] && run.findings[row].hypervisor, "hypervisor", true),
      cell(run, run.findings[row] && run.findings[row].guest, "guest")]))));
  $("comparison").append(el("div", { class: "scroll" }, el("table", { class: "cards" }, head, body)));
}

function changes() {
  for (const [r, run] of data.runs.entries()) {
    const names = ["when", "behaviour", "what", "where", "old → new"];
    const rows = run.changes.map((change) => el("tr", {}, ...names.map((name, i) =>
      el("td", { class: i === 0 || i > 2 ? "mono" : undefined, "data-label": name }, i === 0 && change[5] !== ""
        ? el("button", { type: "button", onclick: () => show(r, Number(change[5])) }, change[0] + " s")
        : change[i]))));
    $("changes").append(rows.length
      ? el("div", { class: "scroll" }, el("table", { class: "cards" }, el("caption", {}, run.name),
        el("thead", {}, el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows)))
      : el("p", {}, el("b", {}, run.name + ": "), "nothing; the image ran as it is."));
  }
}

function machines() {
  const groups = new Map();
  for (const run of data.runs) {
    const key = JSON.stringify(run.machine);
    groups.set(key, [...(groups.get(key) || []), run]);
  }
  for (const group of groups.values()) {
    $("machines").append(el("div", { class: "machine" }, el("h3", {}, group.map((run) => run.name).join(", ")),
      el("dl", {}, ...group[0].machine.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))));
  }
}

function filters() {
  data.categories.forEach((name, category) => {
    const count = data.runs.reduce((sum, run) => sum + run.events.filter((event) => event[CATEGORY] === category).length, 0);
    if (!count) return;
    const button = el("button", { type: "button", "aria-pressed": "true", onclick: () => {
      if (!hidden.delete(category)) hidden.add(category);
      button.setAttribute("aria-pressed", String(!hidden.has(category)));
      timeline.queue();
      filterList();
    } }, `${name} ${count}`);
    $("filters").append(button);
  });
  const dropped = data.runs.flatMap((run) => run.dropped.map(([name, count]) => `${count} ${name} of "${run.name}"`));
  if (dropped.length) $("filters").after(el("p", { class: "hint" }, "Not kept, because the recorder was full: " + dropped.join(", ") + "."));
}

function legend() {
  const entries = [["good-fill", "micro-TLB enabled"], ["stripes", "micro-TLB disabled after it was enabled"],
    ["dma", "DMA, translated (reads above writes)"], ["stray", "DMA, untranslated through a micro-TLB that was enabled before"],
    ["cross", "bus error or fault"], ["probe", "guest function, register write"]];
  $("legend").replaceChildren(...entries.map(([what, text]) => {
    const swatch = el("canvas", { width: 60, height: 28, "aria-hidden": "true" }), c = swatch.getContext("2d");
    const item = el("li", {}, swatch, text);
    item.draw = () => {
      const color = (name) => { item.style.color = `var(--${name})`; const value = getComputedStyle(item).color; item.style.color = ""; return value; };
      c.clearRect(0, 0, 60, 28);
      c.lineWidth = 4;
      c.fillStyle = color(what === "stripes" ? "bad-fill" : what === "cross" ? "card" : what);
      c.strokeStyle = color("bad");
      c.beginPath();
      if (what === "probe") { c.moveTo(30, 2); c.lineTo(42, 14); c.lineTo(30, 26); c.lineTo(18, 14); c.fill(); return; }
      c.fillRect(0, 4, 60, 20);
      if (what === "stripes") for (let d = 0; d < 80; d += 14) { c.moveTo(d - 20, 24); c.lineTo(d, 4); }
      if (what === "cross") { c.moveTo(22, 6); c.lineTo(38, 22); c.moveTo(38, 6); c.lineTo(22, 22); }
      c.stroke();
    };
    return item;
  }));
}

function onSelect(target) {
  selection = target;
  for (const button of document.querySelectorAll(".run li button")) {
    button.setAttribute("aria-current", String(!!target && +button.dataset.run === target.run && +button.dataset.event === target.event));
  }
  if (!target) return;
  const run = data.runs[target.run], event = run.events[target.event];
  const decisive = run.decisive.find((item) => item.event === target.event);
  $("details").replaceChildren(
    el("p", {}, el("time", {}, seconds(event[AT])), ` ${run.name} · ${laneName(run, event)} · ${data.categories[event[CATEGORY]]}`),
    el("p", {}, el("b", {}, event[TEXT])),
    ...(decisive ? [el("p", {}, mark(decisive.mark), decisive.meaning)] : []),
    el("dl", {}, ...event[DETAILS].flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
  revealInList(target);
}

function onHover(target, point) {
  const tip = $("tooltip");
  tip.hidden = !target;
  if (!target) return;
  const event = data.runs[target.run].events[target.event];
  tip.replaceChildren(el("b", {}, seconds(event[AT]) + (event[UNTIL] > event[AT] ? ", for " + formatSpan(event[UNTIL] - event[AT]) : "")), event[TEXT]);
  const room = $("stage").clientWidth;
  tip.style.left = Math.max(4, Math.min(point[0] + 14, room - tip.offsetWidth - 6)) + "px";
  tip.style.top = (point[1] + 18 + tip.offsetHeight > $("stage").clientHeight ? point[1] - tip.offsetHeight - 12 : point[1] + 18) + "px";
}

function onView(view, end) {
  $("range").textContent = `${formatSpan(view.to - view.from)} from ${seconds(view.from)}, of ${formatSpan(end)}`;
}

// The list shows only the rows in sight, so that it may be long.
let listed = [];
function filterList() {
  const wanted = $("search").value.toLowerCase();
  listed = [];
  data.runs.forEach((run, r) => run.events.forEach((event, index) => {
    if (!shows(event)) return;
    if (wanted && !event[TEXT].toLowerCase().includes(wanted) && !laneName(run, event).toLowerCase().includes(wanted)) return;
    listed.push({ run: r, event: index });
  }));
  listed.sort((a, b) => data.runs[a.run].events[a.event][AT] - data.runs[b.run].events[b.event][AT]);
  $("count").textContent = `${listed.length} events`;
  $("rows").style.height = listed.length * ROW + "px";
  drawList();
}

function drawList() {
  const list = $("list"), first = Math.max(0, Math.floor(list.scrollTop / ROW) - 4);
  const last = Math.min(listed.length, first + Math.ceil(list.clientHeight / ROW) + 8), rows = [];
  for (let i = first; i < last; i += 1) {
    const item = listed[i], run = data.runs[item.run], event = run.events[item.event];
    const decisive = run.decisive.some((other) => other.event === item.event);
    const row = el("div", { class: "event" + (event[TONE] === BAD ? " bad" : "") + (decisive ? " decisive" : ""), role: "option",
      id: "row-" + i, "aria-posinset": i + 1, "aria-setsize": listed.length, "aria-selected": String(isSelected(item)),
      onclick: () => timeline.select(item, "visible") },
    el("span", {}, seconds(event[AT])), el("span", {}, run.name), el("span", {}, laneName(run, event)), el("span", {}, event[TEXT]));
    row.style.top = i * ROW + "px";
    rows.push(row);
  }
  $("rows").replaceChildren(...rows);
  const active = rows.find((row) => row.getAttribute("aria-selected") === "true");
  if (active) list.setAttribute("aria-activedescendant", active.id); else list.removeAttribute("aria-activedescendant");
}

const isSelected = (item) => !!selection && item.run === selection.run && item.event === selection.event;

function revealInList(target) {
  const index = listed.findIndex((item) => item.run === target.run && item.event === target.event), list = $("list");
  if (index >= 0 && (index * ROW < list.scrollTop || (index + 1) * ROW > list.scrollTop + list.clientHeight)) {
    list.scrollTop = index * ROW - list.clientHeight / 2;
  }
  drawList();
}

function listKeys(e) {
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -listed.length, End: listed.length };
  if (!steps[e.key] || !listed.length) return;
  e.preventDefault();
  const now = listed.findIndex(isSelected);
  timeline.select(listed[Math.max(0, Math.min(listed.length - 1, (now < 0 ? -1 : now) + steps[e.key]))], "visible");
}

function dark() {
  const chosen = document.documentElement.style.colorScheme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function recolor() {
  $("theme").textContent = dark() ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", dark() ? "Use light colours" : "Use dark colours");
  timeline.readColors();
  for (const item of $("legend").children) item.draw();
}

function tools() {
  const on = (id, action) => $(id).addEventListener("click", action);
  on("zoom-in", () => timeline.zoom(1.6));
  on("zoom-out", () => timeline.zoom(1 / 1.6));
  on("pan-left", () => timeline.pan(-0.3));
  on("pan-right", () => timeline.pan(0.3));
  on("fit-decisive", timeline.fit.decisive);
  on("fit-all", timeline.fit.all);
  on("theme", () => { document.documentElement.style.colorScheme = dark() ? "light" : "dark"; recolor(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
  let before = "";
  addEventListener("beforeprint", () => { before = document.documentElement.style.colorScheme; document.documentElement.style.colorScheme = "light"; recolor(); timeline.paint(); });
  addEventListener("afterprint", () => { document.documentElement.style.colorScheme = before; recolor(); });
  $("search").addEventListener("input", filterList);
  $("list").addEventListener("scroll", drawList);
  $("list").addEventListener("keydown", listKeys);
  let width = 0;
  new ResizeObserver(() => {
    if ($("stage").clientWidth !== width) { width = $("stage").clientWidth; timeline.layout(); }
  }).observe($("stage"));
}

verdict();
runs();
comparison();
changes();
machines();
filters();
legend();
tools();
$("canvas").setAttribute("aria-label", "Timeline of " + data.runs.map((run) => run.name).join(" and ") + "; the list of all events below tells the same");
$("details").append(el("p", { class: "hint" }, "Choose an event to see all of it here."));
timeline.layout();
recolor();
filterList();
document.documentElement.dataset.ready = "true";
