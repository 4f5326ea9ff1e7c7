"use strict";
// Zoom, pan and values of the pictures of objects. All pictures of a page show the same place: `view` holds the object
// pixel in the middle, in the pixels of the scan positions, and screen pixels for each of them; null shows all.
(() => {
  const KEPT = `view of ${location.pathname}`, STEP = 1.5, MOST = 64;
  let view = null;
  try { view = JSON.parse(sessionStorage.getItem(KEPT)); } catch { view = null; }
  const pictures = [...document.querySelectorAll("figure[data-low]")].map(start);

  function start(figure) {
    const read = name => Number(figure.dataset[name]);
    const picture = {
      figure, box: figure.querySelector(".view"), image: figure.querySelector(".view > img"),
      out: figure.querySelector("output"), bar: figure.querySelector(".bar"), low: read("low"), high: read("high"),
      height: read("height"), width: read("width"), block: read("block"), top: read("top"), left: read("left"),
      nm: read("nm"), unit: figure.dataset.unit, pixels: null,
    };
    figure.classList.add("live");
    listen(picture);
    return picture;
  }

  function fit(p) {
    const scale = Math.min(p.box.clientWidth / p.width, p.box.clientHeight / p.height);
    return { row: p.top + p.height / 2, column: p.left + p.width / 2, scale };
  }

  function draw(p) {
    const now = view ?? fit(p), size = now.scale * p.block;
    const x = p.box.clientWidth / 2 - (now.column - p.left) * now.scale;
    const y = p.box.clientHeight / 2 - (now.row - p.top) * now.scale;
    p.image.style.transform = `translate(${x}px, ${y}px) scale(${size})`;
    drawBar(p, now.scale);
  }

  function drawBar(p, scale) {
    const most = p.box.clientWidth / 4 / scale * (p.nm || 1), power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map(one => one * power).find(one => one <= most) ?? power;
    p.bar.lastElementChild.style.width = `${length / (p.nm || 1) * scale}px`;
    p.bar.firstElementChild.textContent = worded(length, p.nm);
  }

  function worded(length, nm) {
    if (!nm) return `${Number(length.toPrecision(3))} px`;
    return length >= 1000 ? `${Number((length / 1000).toPrecision(3))} \u00b5m` : `${Number(length.toPrecision(3))} nm`;
  }

  function set(next, p) {
    const least = fit(p).scale;
    if (next && next.scale <= least) next = null;
    if (next) {
      next.scale = Math.min(next.scale, MOST);
      next.row = Math.min(Math.max(next.row, p.top), p.top + p.height);
      next.column = Math.min(Math.max(next.column, p.left), p.left + p.width);
    }
    view = next;
    try { sessionStorage.setItem(KEPT, JSON.stringify(view)); } catch { /* a page may keep nothing: it starts anew */ }
    pictures.forEach(draw);
  }

  function zoom(p, factor, at) {
    const now = view ?? fit(p), scale = Math.min(now.scale * factor, MOST), middle = at ?? now;
    const share = now.scale / scale;
    set({ row: middle.row + (now.row - middle.row) * share,
          column: middle.column + (now.column - middle.column) * share, scale }, p);
  }

  function move(p, rows, columns) {
    const now = view ?? fit(p);
    set({ row: now.row + rows / now.scale, column: now.column + columns / now.scale,
          scale: now.scale * (view ? 1 : 1.0001) }, p);
  }

  function place(p, event) {
    const now = view ?? fit(p), box = p.box.getBoundingClientRect();
    return { row: now.row + (event.clientY - box.top - p.box.clientTop - p.box.clientHeight / 2) / now.scale,
             column: now.column + (event.clientX - box.left - p.box.clientLeft - p.box.clientWidth / 2) / now.scale };
  }

  function pixelsOf(p) {
    if (p.pixels) return p.pixels;
    const canvas = document.createElement("canvas");
    canvas.width = p.image.naturalWidth;
    canvas.height = p.image.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(p.image, 0, 0);
    p.pixels = context.getImageData(0, 0, canvas.width, canvas.height);
    return p.pixels;
  }

  function tell(p, at) {
    const row = Math.floor(at.row) - p.top, column = Math.floor(at.column) - p.left;
    if (row < 0 || column < 0 || row >= p.height || column >= p.width) {
      p.out.textContent = "";
      return;
    }
    const found = pixelsOf(p), first = 4 * (Math.floor(row / p.block) * found.width + Math.floor(column / p.block));
    const level = found.data[first], step = (p.high - p.low) / 254;
    const digits = Math.min(8, Math.max(0, -Math.floor(Math.log10(step || 1))));
    const sign = level === 1 ? "\u2264 " : level === 255 ? "\u2265 " : "";
    const value = (p.low + (level - 1) * step).toFixed(digits);
    p.out.textContent = found.data[first + 3] === 0 ? `row ${row}, column ${column}: hardly any light`
      : `row ${row}, column ${column}: ${sign}${value} ${p.unit}`;
  }

  function listen(p) {
    let held = null;
    p.box.addEventListener("pointerdown", event => {
      held = place(p, event);
      p.box.setPointerCapture(event.pointerId);
    });
    p.box.addEventListener("pointermove", event => {
      const at = place(p, event);
      if (held && view) set({ row: view.row + held.row - at.row, column: view.column + held.column - at.column,
                              scale: view.scale }, p);
      pictures.forEach(one => tell(one, held && view ? held : at));
    });
    ["pointerup", "pointercancel"].forEach(name => p.box.addEventListener(name, () => { held = null; }));
    p.box.addEventListener("dblclick", event => zoom(p, STEP * STEP, place(p, event)));
    p.box.addEventListener("wheel", event => {
      if (document.activeElement !== p.box && !event.ctrlKey) return;
      event.preventDefault();
      zoom(p, event.deltaY < 0 ? STEP : 1 / STEP, place(p, event));
    }, { passive: false });
    p.box.addEventListener("keydown", event => {
      const by = Math.max(1, p.box.clientWidth / 10), act = {
        ArrowUp: () => move(p, -by, 0), ArrowDown: () => move(p, by, 0), ArrowLeft: () => move(p, 0, -by),
        ArrowRight: () => move(p, 0, by), "+": () => zoom(p, STEP), "=": () => zoom(p, STEP),
        "-": () => zoom(p, 1 / STEP), 0: () => set(null, p), Home: () => set(null, p),
      }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
      pictures.forEach(one => tell(one, view ?? fit(p)));
    });
    p.figure.querySelectorAll("button").forEach(button => button.addEventListener("click", () => ({
      in: () => zoom(p, STEP), out: () => zoom(p, 1 / STEP), all: () => set(null, p),
    })[button.dataset.act]()));
    new ResizeObserver(() => draw(p)).observe(p.box);
    p.image.decode().then(() => draw(p), () => draw(p));
  }

  // Served by `ptycho report --watch`: the page is loaded again when the run has written another one.
  if (location.protocol === "http:") {
    let known = null;
    const timer = setInterval(async () => {
      try {
        const tag = (await fetch(location.href, { method: "HEAD", cache: "no-store" })).headers.get("ETag");
        if (known !== null && tag !== known) location.reload();
        known = tag;
      } catch { clearInterval(timer); }
    }, 1000);
  }
})();
