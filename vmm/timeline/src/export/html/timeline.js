"use strict";
// The canvas: lanes, their states and events over a common axis of virtual time. Knows nothing of the rest of the page.

// Indices of an event's array, as the exporter writes it.
const AT = 0, UNTIL = 1, LANE = 2, CATEGORY = 3, TONE = 4, CORE = 5, TEXT = 6, DETAILS = 7;
const BAD = 2;
const MIN_SPAN = 200; // Nanoseconds across the canvas when zoomed in all the way.
const AXIS = 26, GAP = 10, HEAD = 30;
const HEIGHTS = { utlb: 34, device: 46 };
const FONT = '12px system-ui, "DejaVu Sans", sans-serif';

function createTimeline({ data, canvas, gutter, shows, onSelect, onHover, onView }) {
  const end = Math.max(1, ...data.runs.map((run) => run.end));
  const decisive = data.runs.map((run) => new Map(run.decisive.map((item, i) => [item.event, [i + 1, item.mark]])));
  const lanes = data.runs.map(indexLanes);
  let view = decisiveView(), rows = [], width = 0, height = 0, left = 0, narrow = false;
  let selected = null, hovered = null, colors = {}, queued = false, frames = 0, lastDraw = 0, pattern = null;

  // Per lane: its events in order, and up to each the latest end, to find what reaches into a view.
  function indexLanes(run) {
    const list = run.lanes.map(() => ({ events: [], reach: [], states: [] }));
    run.events.forEach((event, index) => {
      const lane = list[event[LANE]];
      if (!lane) return;
      lane.reach.push(Math.max(event[UNTIL], lane.reach.length ? lane.reach[lane.reach.length - 1] : 0));
      lane.events.push(index);
    });
    run.states.forEach((state) => list[state[0]] && list[state[0]].states.push(state));
    return list;
  }

  function decisiveView() {
    let from = Infinity, to = -Infinity;
    for (const run of data.runs) for (const item of run.decisive) {
      const event = run.events[item.event];
      from = Math.min(from, event[AT]);
      to = Math.max(to, event[AT]);
    }
    if (!(to >= from)) return { from: 0, to: end };
    const margin = Math.max((to - from) * 0.18, end / 1000, MIN_SPAN);
    return clamp(from - margin, to + margin);
  }

  function clamp(from, to) {
    const span = Math.min(end, Math.max(MIN_SPAN, to - from));
    const start = Math.min(Math.max(0, from), end - span);
    return { from: start, to: start + span };
  }

  function setView(from, to) {
    view = clamp(from, to);
    queue();
  }

  function zoom(factor, x) {
    const center = time(x === undefined ? left + (width - left) / 2 : Math.max(x, left));
    setView(center - (center - view.from) / factor, center + (view.to - center) / factor);
  }

  const pan = (part) => setView(view.from + part * (view.to - view.from), view.to + part * (view.to - view.from));
  const x = (ns) => left + ((ns - view.from) / (view.to - view.from)) * (width - left);
  const time = (px) => view.from + ((px - left) / (width - left)) * (view.to - view.from);

  function layout() {
    width = canvas.clientWidth;
    narrow = width < 640;
    left = narrow ? 0 : Math.min(210, Math.round(width * 0.18));
    rows = [];
    let y = AXIS;
    data.runs.forEach((run, r) => {
      rows.push({ head: true, run: r, y, height: HEAD });
      y += HEAD;
      run.lanes.forEach((lane, l) => {
        const label = narrow ? 16 : 0, h = (HEIGHTS[lane.type] || 28) + label;
        rows.push({ run: r, lane: l, type: lane.type, y, height: h, top: y + label, inner: h - label });
        y += h;
      });
      y += GAP;
    });
    height = y;
    const ratio = window.devicePixelRatio || 1;
    canvas.style.height = height + "px";
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    gutter.parentElement.classList.toggle("narrow", narrow);
    gutter.replaceChildren(...rows.map(label));
    queue();
  }

  function label(row) {
    const item = document.createElement("li"), run = data.runs[row.run];
    item.style.top = row.y + "px";
    item.style.height = (narrow && !row.head ? 16 : row.height) + "px";
    item.style.width = (row.head || narrow ? width - 16 : left - 14) + "px";
    if (row.head) {
      item.className = "head " + run.health;
      item.textContent = (run.health === "bad" ? "✗ " : run.health === "ok" ? "✓ " : "") + run.name;
    } else {
      const { label: name, role } = run.lanes[row.lane];
      if (role) {
        const badge = document.createElement("b");
        badge.textContent = role;
        item.append(badge);
      }
      item.append(name);
      item.dataset.lane = name;
    }
    return item;
  }

  // Colours as the present scheme resolves them.
  function readColors() {
    const probe = document.createElement("span");
    canvas.parentElement.append(probe);
    for (const name of ["card", "line", "text", "soft", "lane", "accent", "good", "good-fill", "bad", "bad-fill",
      "dma", "stray", "plain", "probe", "note"]) {
      probe.style.color = `var(--${name})`;
      colors[name] = getComputedStyle(probe).color;
    }
    probe.remove();
    pattern = null;
    queue();
  }

  function queue() {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => {
      queued = false;
      paint();
    });
  }

  // At once, for a printer that does not wait for the next frame.
  function paint() {
    const before = performance.now();
    draw();
    lastDraw = performance.now() - before;
    frames += 1;
    onView(view, end);
  }

  function draw() {
    const ratio = window.devicePixelRatio || 1, c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, height);
    c.font = FONT;
    c.textBaseline = "middle";
    for (const row of rows) if (!row.head) background(c, row);
    axis(c);
    c.save();
    c.beginPath();
    c.rect(left, 0, width - left, height);
    c.clip();
    for (const row of rows) if (!row.head) {
      states(c, row);
      events(c, row);
    }
    for (const row of rows) if (row.head) flags(c, row);
    if (hovered) outline(c, hovered, colors.text, 1);
    if (selected) outline(c, selected, colors.accent, 2);
    c.restore();
  }

  function background(c, row) {
    c.fillStyle = row.lane % 2 ? colors.card : colors.lane;
    c.fillRect(0, row.y, width, row.height);
  }

  function axis(c) {
    const span = view.to - view.from, room = Math.max(2, (width - left) / 110);
    const rough = span / room, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    c.textAlign = "center";
    for (let n = Math.ceil(view.from / step); n * step <= view.to; n += 1) {
      const px = x(n * step);
      c.fillStyle = colors.line;
      c.fillRect(Math.round(px), AXIS - 6, 1, height - AXIS);
      const text = formatTime(n * step, step), half = c.measureText(text).width / 2;
      c.fillStyle = colors.soft;
      if (px - half > left && px + half < width) c.fillText(text, px, 11);
    }
    c.textAlign = "left";
  }

  // Diagonal stripes: trouble is not told by colour alone.
  function stripes(c) {
    if (pattern) return pattern;
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const t = tile.getContext("2d");
    t.fillStyle = colors["bad-fill"];
    t.fillRect(0, 0, 8, 8);
    t.strokeStyle = colors.bad;
    t.lineWidth = 1.5;
    t.beginPath();
    for (const d of [-8, 0, 8]) { t.moveTo(d, 8); t.lineTo(d + 8, 0); }
    t.stroke();
    pattern = c.createPattern(tile, "repeat");
    return pattern;
  }

  function states(c, row) {
    const thin = row.type === "device";
    const top = thin ? row.top + row.inner - 6 : row.top + 7, h = thin ? 3 : row.inner - 12;
    for (const [, from, until, kind, text] of lanes[row.run][row.lane].states) {
      if (until < view.from || from > view.to) continue;
      const a = Math.max(left, x(from)), b = Math.min(width, x(until)), w = Math.max(1.5, b - a);
      if (kind === "off" || kind === "unbound") {
        c.fillStyle = colors.line;
        c.fillRect(a, top + h / 2 - 1, w, 2);
      } else {
        c.fillStyle = kind === "lost" || kind === "blocked" ? stripes(c) : kind === "bound" ? colors.good : colors["good-fill"];
        c.fillRect(a, top, w, h);
      }
      if (!thin && kind !== "off") {
        for (const words of [text, text.split(":")[0]]) {
          if (boxed(c, words, a + 13, top + h / 2, w - 20, kind === "on" ? colors.good : colors.bad)) break;
        }
      }
    }
  }

  // Text on a ground of its own, if there is room.
  function boxed(c, text, px, py, room, color) {
    const w = c.measureText(text).width;
    if (w + 8 > room) return false;
    c.fillStyle = colors.card;
    c.fillRect(px - 4, py - 8, w + 8, 16);
    c.fillStyle = color;
    c.fillText(text, px, py + 0.5);
    return true;
  }

  function firstVisible(lane) {
    let low = 0, high = lane.events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (lane.reach[middle] < view.from) low = middle + 1; else high = middle;
    }
    return low;
  }

  function events(c, row) {
    const run = data.runs[row.run], lane = lanes[row.run][row.lane], drawn = {};
    const groups = [];
    let waiting = null;
    for (let i = firstVisible(lane); i < lane.events.length; i += 1) {
      const event = run.events[lane.events[i]];
      if (event[AT] > view.to) break;
      if (event[UNTIL] < view.from || !shows(event)) continue;
      const a = x(event[AT]), b = Math.max(a + 2, x(event[UNTIL])), name = data.categories[event[CATEGORY]];
      if (name === "DMA") group(groups, a, b, event[TONE]);
      // What falls on pixels that look the same already is not drawn again.
      const key = name + event[TONE] + (name === "DMA" ? event[TEXT][0] : "");
      const room = name === "bus errors" || name === "faults" ? 10 : 0.5;
      if (drawn[key] !== undefined && b <= drawn[key] + room && !decisive[row.run].has(lane.events[i])) continue;
      drawn[key] = b;
      if (row.type !== "device" && row.type !== "utlb" && row.type !== "context") {
        if (waiting) note(c, waiting, a);
        waiting = { px: b, py: row.top + row.inner / 2, event };
      }
      mark(c, row, event, name, a, b);
    }
    if (waiting) note(c, waiting, width);
    for (const [a, b, tone] of groups) {
      const text = tone === BAD ? "UNTRANSLATED" : tone === 1 ? "translated" : "physical";
      const from = Math.max(a, left + 2), w = c.measureText(text).width;
      if (Math.min(b, width) - from < w) continue;
      c.fillStyle = tone === BAD ? colors.stray : tone === 1 ? colors.dma : colors.soft;
      c.fillText(text, from, row.top + 31);
    }
  }

  // Runs of like DMA that are close on the screen share one word.
  function group(groups, a, b, tone) {
    const last = groups[groups.length - 1];
    if (last && last[2] === tone && a - last[1] < (width - left) / 4) last[1] = Math.max(last[1], b);
    else groups.push([a, b, tone]);
  }

  // The text of a marker, as far as the next one leaves room.
  function note(c, { px, py, event }, until) {
    const room = until - px - 14;
    if (room < 26) return;
    let text = event[TEXT];
    if (c.measureText(text).width > room) {
      let fits = Math.min(text.length, Math.ceil(room / 4));
      while (fits > 0 && c.measureText(text.slice(0, fits) + "…").width > room) fits -= 1;
      if (fits < 4) return;
      text = text.slice(0, fits) + "…";
    }
    c.fillStyle = event[TONE] === BAD ? colors.bad : colors.text;
    c.fillText(text, px + 6, py);
  }

  function mark(c, row, event, name, a, b) {
    const middle = row.top + row.inner / 2;
    switch (name) {
      case "DMA": {
        const reads = event[TEXT].startsWith("reads");
        c.fillStyle = event[TONE] === BAD ? colors.stray : event[TONE] === 1 ? colors.dma : colors.plain;
        c.fillRect(a, row.top + (reads ? 4 : 14), b - a, 8);
        break;
      }
      case "bus errors":
      case "faults":
        c.strokeStyle = colors.bad;
        c.lineWidth = 2;
        c.beginPath();
        c.moveTo(a - 4, row.top + 9); c.lineTo(a + 4, row.top + 17);
        c.moveTo(a + 4, row.top + 9); c.lineTo(a - 4, row.top + 17);
        c.stroke();
        break;
      case "translations":
        c.fillStyle = colors.plain;
        c.fillRect(a, row.top + 6, Math.max(2, b - a), row.inner - 12);
        break;
      case "interrupts":
        c.fillStyle = colors.note;
        c.fillRect(a, middle - 5, b - a, 10);
        break;
      case "console lines":
        c.fillStyle = colors.soft;
        c.fillRect(a, middle - 7, 2, 14);
        break;
      case "attachments":
        c.fillStyle = event[TONE] === BAD ? colors.bad : colors.good;
        c.fillRect(a - 1, row.top + 3, 3, row.inner - 6);
        break;
      default: {
        const color = event[TONE] === BAD ? colors.bad : event[TONE] === 1 ? colors.good : colors.probe;
        const py = row.type === "utlb" ? row.top + 5 : middle;
        c.fillStyle = color;
        c.beginPath();
        c.moveTo(a, py - 5); c.lineTo(a + 5, py); c.lineTo(a, py + 5); c.lineTo(a - 5, py);
        c.fill();
      }
    }
  }

  // Numbered flags of the decisive events of a run, with a line to their lane. Crowded ones move aside.
  function flags(c, row) {
    const run = data.runs[row.run];
    let free = -Infinity;
    [...decisive[row.run]].map(([index, what]) => [run.events[index], what]).sort((a, b) => a[0][AT] - b[0][AT])
      .forEach(([event, [number, kind]]) => {
        const px = x(event[AT]), lane = rows.find((r) => !r.head && r.run === row.run && r.lane === event[LANE]);
        if (px < left - 20 || px > width + 20 || !lane) return;
        const fx = Math.max(px, free), fy = row.y + HEAD / 2;
        free = fx + 21;
        const color = kind === "bad" ? colors.bad : kind === "ok" ? colors.good : colors.plain;
        c.strokeStyle = color;
        c.lineWidth = 1.25;
        c.setLineDash([3, 3]);
        c.beginPath();
        c.moveTo(fx, fy + 9); c.lineTo(px, row.y + HEAD + 2); c.lineTo(px, lane.top + lane.inner / 2);
        c.stroke();
        c.setLineDash([]);
        c.fillStyle = color;
        c.beginPath();
        if (kind === "bad") c.roundRect(fx - 9, fy - 9, 18, 18, 3); else c.arc(fx, fy, 9, 0, 7);
        c.fill();
        c.fillStyle = colors.card;
        c.textAlign = "center";
        c.fillText(String(number), fx, fy + 1);
        c.textAlign = "left";
      });
  }

  function outline(c, { run, event }, color, lineWidth) {
    const item = data.runs[run].events[event];
    const row = rows.find((r) => !r.head && r.run === run && r.lane === item[LANE]);
    if (!row) return;
    const a = x(item[AT]), b = Math.max(a + 2, x(item[UNTIL]));
    c.strokeStyle = color;
    c.lineWidth = lineWidth;
    c.strokeRect(a - 6, row.top + 1, b - a + 12, row.inner - 2);
  }

  // The event at a point: the nearest within reach, trouble before the rest.
  function at(px, py) {
    const row = rows.find((r) => !r.head && py >= r.y && py < r.y + r.height);
    if (!row || px < left) return null;
    const lane = lanes[row.run][row.lane], run = data.runs[row.run];
    let best = null, least = 9;
    for (let i = firstVisible(lane); i < lane.events.length; i += 1) {
      const event = run.events[lane.events[i]], a = x(event[AT]);
      if (a > px + 9) break;
      if (!shows(event)) continue;
      const distance = Math.max(0, a - px, px - x(event[UNTIL])) - (event[TONE] === BAD ? 2 : 0);
      if (distance < least) {
        least = distance;
        best = { run: row.run, event: lane.events[i] };
      }
    }
    return best;
  }

  function select(target, reveal) {
    selected = target;
    const event = target && data.runs[target.run].events[target.event];
    if (event && reveal) {
      const span = view.to - view.from;
      if (reveal === "near" && span > end / 20) setView(event[AT] - end / 80, event[AT] + end / 80);
      else if (event[AT] < view.from + span * 0.08 || event[AT] > view.to - span * 0.08) {
        setView(event[AT] - span / 2, event[AT] + span / 2);
      }
    }
    onSelect(target);
    queue();
  }

  // The next event shown, in the order of time, of the run that is looked at.
  function step(direction) {
    const run = selected ? selected.run : 0, list = data.runs[run].events;
    let index = selected ? selected.event + direction : list.findIndex((event) => event[AT] >= view.from);
    while (index >= 0 && index < list.length && !shows(list[index])) index += direction;
    if (list[index]) select({ run, event: index }, "visible");
  }

  const fit = { all: () => setView(0, end), decisive: () => { view = decisiveView(); queue(); } };
  wire();
  return { layout, readColors, queue, paint, zoom, pan, fit, select, step,
    state: () => ({ from: view.from, to: view.to, frames, lastDraw, rows: rows.length, selected }) };

  function wire() {
    const point = (e) => { const box = canvas.getBoundingClientRect(); return [e.clientX - box.left, e.clientY - box.top]; };
    const pointers = new Map();
    let moved = 0, pinch = 0;
    canvas.addEventListener("wheel", (e) => {
      if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) {
        e.preventDefault();
        pan((e.deltaX || e.deltaY) / width);
      } else if (e.ctrlKey || e.metaKey || document.activeElement === canvas) {
        e.preventDefault();
        zoom(Math.exp(-Math.max(-200, Math.min(200, e.deltaY)) * 0.0025), point(e)[0]);
      }
    }, { passive: false });
    canvas.addEventListener("pointerdown", (e) => {
      pointers.set(e.pointerId, point(e));
      if (e.isTrusted) canvas.setPointerCapture(e.pointerId);
      moved = 0;
    });
    canvas.addEventListener("pointermove", (e) => {
      const now = point(e), before = pointers.get(e.pointerId);
      if (!before) {
        hovered = at(...now);
        onHover(hovered, now);
        queue();
        return;
      }
      pointers.set(e.pointerId, now);
      moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
      if (pointers.size === 1) {
        pan((before[0] - now[0]) / Math.max(1, width - left));
      } else {
        const [a, b] = [...pointers.values()], distance = Math.hypot(a[0] - b[0], a[1] - b[1]);
        if (pinch) zoom(distance / pinch, (a[0] + b[0]) / 2);
        pinch = distance;
      }
    });
    const up = (e) => {
      if (pointers.delete(e.pointerId) && moved < 5 && e.type === "pointerup") {
        const found = at(...point(e));
        if (found) select(found);
      }
      pinch = 0;
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => { hovered = null; onHover(null); queue(); });
    canvas.addEventListener("dblclick", (e) => zoom(2, point(e)[0]));
    const keys = { ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), "+": () => zoom(1.6), "=": () => zoom(1.6),
      "-": () => zoom(1 / 1.6), 0: fit.all, d: fit.decisive, n: () => step(1), p: () => step(-1) };
    canvas.addEventListener("keydown", (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || !keys[e.key]) return;
      e.preventDefault();
      keys[e.key]();
    });
  }
}
