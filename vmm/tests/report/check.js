// Uses the page as a reader would and posts what it saw. Judging it is the test's business.
(async () => {
  const seen = {};
  const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  const canvas = document.getElementById("canvas");
  const text = (id) => document.getElementById(id).textContent;
  const view = () => { const { from, to } = timeline.state(); return [from, to]; };
  const click = async (what) => { (typeof what === "string" ? document.querySelector(what) : what).click(); await frame(); };
  const key = async (target, name) => {
    target.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
    await frame();
  };
  const rgb = (color) => (color.match(/[\d.]+/g) || []).slice(0, 3).map(Number);
  const light = (color) => {
    const [r, g, b] = rgb(color).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [high, low] = [light(a), light(b)].sort((p, q) => q - p);
    return (high + 0.05) / (low + 0.05);
  };
  // Pixels of the canvas in exactly the colour of a variable of the style.
  const pixels = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const [r, g, b] = rgb(getComputedStyle(probe).color);
    probe.remove();
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i] === r && data[i + 1] === g && data[i + 2] === b && data[i + 3] === 255) count += 1;
    return count;
  };
  try {
    await frame();
    seen.ready = document.documentElement.dataset.ready || null;
    seen.title = text("title");
    seen.verdict = text("verdict");
    seen.verdictBottom = document.getElementById("verdict").getBoundingClientRect().bottom;
    seen.lanes = [...document.querySelectorAll("#gutter li[data-lane]")].map((item) => item.dataset.lane);
    seen.heads = [...document.querySelectorAll("#gutter li.head")].map((item) => item.textContent);
    seen.background = light(getComputedStyle(document.body).backgroundColor);
    seen.contrasts = ["h1", "time", ".hint", "thead th", ".mark.bad", ".mark.ok", ".run .soft"].map((what) => {
      const element = document.querySelector(what);
      return [what, element ? contrast(getComputedStyle(element).color, getComputedStyle(document.querySelector(".run") || document.body).backgroundColor) : null];
    });
    seen.overflow = document.documentElement.scrollWidth - innerWidth;
    seen.strayPixels = pixels("stray");
    seen.dmaPixels = pixels("dma");

    seen.view = view();
    const box = canvas.getBoundingClientRect();
    const at = { clientX: box.left + box.width * 0.7, clientY: box.top + 60, bubbles: true, cancelable: true };
    canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: -200, ctrlKey: true }));
    await frame();
    seen.wheeled = view();
    await click("#zoom-out");
    seen.zoomedOut = view();
    await click("#fit-all");
    seen.whole = view();
    seen.range = text("range");
    canvas.focus();
    await key(canvas, "+");
    seen.keyed = view();
    await key(canvas, "ArrowRight");
    seen.panned = view();
    for (const [type, dx] of [["pointerdown", 0], ["pointermove", -40], ["pointerup", -40]]) {
      canvas.dispatchEvent(new PointerEvent(type, { ...at, clientX: at.clientX + dx, pointerId: 1 }));
    }
    await frame();
    seen.dragged = view();
    await key(canvas, "d");
    seen.decisive = view();

    const buttons = [...document.querySelectorAll(".run.bad li button")];
    seen.decisiveButtons = buttons.length;
    if (buttons[2]) {
      await click(buttons[2]);
      seen.details = text("details");
      seen.selectedView = view();
      seen.selectedAt = data.runs[1].events[timeline.state().selected.event][0];
      seen.current = document.querySelectorAll(".run li button[aria-current=true]").length;
      const before = timeline.state().selected.event;
      await key(canvas, "n");
      seen.next = timeline.state().selected.event - before;
      await key(canvas, "d");
    }
    const filter = [...document.querySelectorAll("#filters button")].find((button) => button.textContent.startsWith("DMA"));
    if (filter) {
      seen.count = parseInt(text("count"), 10);
      await click(filter);
      seen.filteredPixels = pixels("dma");
      seen.filteredCount = parseInt(text("count"), 10);
      await click(filter);
      seen.restoredPixels = pixels("dma");
    }
    const search = document.getElementById("search");
    search.value = "arch_teardown";
    search.dispatchEvent(new Event("input"));
    seen.found = parseInt(text("count"), 10);
    search.value = "";
    search.dispatchEvent(new Event("input"));
    const list = document.getElementById("list");
    seen.rows = document.querySelectorAll(".event").length;
    list.scrollTop = list.scrollHeight;
    list.dispatchEvent(new Event("scroll"));
    seen.lastRow = [...document.querySelectorAll(".event")].pop()?.getAttribute("aria-posinset");
    await key(list, "Home");
    seen.listSelected = document.querySelector(".event[aria-selected=true]")?.textContent || null;

    await click("#theme");
    seen.toggledBackground = light(getComputedStyle(document.body).backgroundColor);
    seen.toggledStrayPixels = pixels("stray");
    seen.elements = document.querySelectorAll("img, iframe, object, embed, link, script[src]").length;
    seen.scripts = document.scripts.length;
    seen.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
    seen.owned = window.owned || null;
  } catch (error) {
    window.watched.push(`check: ${error.stack || error}`);
  }
  seen.watched = window.watched;
  parent.postMessage(JSON.stringify(seen), "*");
})();
