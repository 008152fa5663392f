// All runs as a strip, a run a row, with the part that the canvas shows.

function drawMinimap(minimap, data, view, end, shows, colors) {
  const ratio = window.devicePixelRatio || 1, c = minimap.getContext("2d");
  const w = minimap.width / ratio, h = minimap.height / ratio, part = h / data.runs.length;
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, w, h);
  data.runs.forEach((run, r) => {
    const columns = new Uint8Array(Math.ceil(w) + 1);
    for (const event of run.events) {
      if (!shows(event)) continue;
      const a = Math.floor((event[AT] / end) * w), b = Math.floor((event[UNTIL] / end) * w);
      const level = event[TONE] === BAD ? 3 : event[TONE] === 1 ? 2 : 1;
      if (event[TONE] === 0 && b > a) { if (columns[a] < 1) columns[a] = 1; continue; }
      for (let px = a; px <= b; px += 1) if (columns[px] < level) columns[px] = level;
    }
    columns.forEach((level, px) => {
      if (!level) return;
      c.fillStyle = [null, colors.plain, colors.dma, colors.stray][level];
      const bar = part * (level === 1 ? 0.3 : 0.7);
      c.fillRect(px, r * part + (part - bar) / 2, 1, bar);
    });
  });
  const a = (view.from / end) * w, b = Math.max(a + 3, (view.to / end) * w);
  c.fillStyle = colors.accent;
  c.globalAlpha = 0.14;
  c.fillRect(a, 0, b - a, h);
  c.globalAlpha = 1;
  c.strokeStyle = colors.accent;
  c.lineWidth = 2;
  c.strokeRect(a + 1, 1, b - a - 2, h - 2);
}
