// @ts-check
/** Pictures, surprise over time, tick histogram: plain canvas. */

const SIZE = 64;
const SECONDS = 30;

/** @param {string} name */
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** @param {ArrayBuffer} buffer seen and expected RGB, one after the other @param {HTMLCanvasElement[]} canvases */
export function drawPictures(buffer, canvases) {
  const rgb = new Uint8Array(buffer), pixels = SIZE * SIZE;
  canvases.forEach((canvas, which) => {
    const context = canvas.getContext("2d");
    if (!context) return;
    const image = context.createImageData(SIZE, SIZE);
    for (let i = 0, j = which * pixels * 3; i < pixels; i++, j += 3) {
      image.data[4 * i] = rgb[j]; image.data[4 * i + 1] = rgb[j + 1]; image.data[4 * i + 2] = rgb[j + 2]; image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  });
}

/** Give a canvas as many pixels as it has on the screen, so that text stays readable on a phone.
 * @param {HTMLCanvasElement} canvas @param {number} height CSS pixels
 * @returns {{g: CanvasRenderingContext2D, width: number, height: number} | null} */
function prepare(canvas, height) {
  const g = canvas.getContext("2d"), ratio = devicePixelRatio || 1, width = canvas.clientWidth;
  if (!g || !width) return null;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    canvas.style.height = `${height}px`;
  }
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return { g, width, height };
}

export class SurpriseChart {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    /** @type {{t: number, rows: import("./link.js").Surprise[]}[]} */
    this.history = [];
  }

  /** @param {import("./link.js").Surprise[]} rows */
  add(rows) {
    const t = performance.now() / 1000;
    this.history.push({ t, rows });
    while (this.history.length && this.history[0].t < t - SECONDS) this.history.shift();
    this.draw(t, rows);
  }

  /** @param {number} now @param {import("./link.js").Surprise[]} rows */
  draw(now, rows) {
    const ready = prepare(this.canvas, rows.length * 34);
    if (!ready) return;
    const { g, width } = ready, height = ready.height / rows.length, left = 138;
    rows.forEach((row, k) => {
      const values = this.history.map((h) => h.rows[k].value ?? 0);
      const top = Math.max(1e-9, row.level ? row.level * 1.15 : 0, ...values);
      const y0 = (k + 1) * height - 5, scale = (height - 10) / top;
      const x = (/** @type {number} */ t) => left + (1 - (now - t) / SECONDS) * (width - left - 4);
      g.fillStyle = row.above ? css("--red") : css("--soft");
      g.font = "13px system-ui";
      g.fillText(row.name.replace("_", " "), 2, y0 - height / 2 + 9);
      g.fillText(row.value === null ? "–" : row.value.toPrecision(2), 88, y0 - height / 2 + 9);
      g.strokeStyle = css("--line"); g.lineWidth = 1;
      g.beginPath(); g.moveTo(left, y0); g.lineTo(width, y0); g.stroke();
      if (row.level) { g.strokeStyle = css("--amber"); g.setLineDash([4, 4]); g.beginPath(); g.moveTo(left, y0 - row.level * scale); g.lineTo(width, y0 - row.level * scale); g.stroke(); g.setLineDash([]); }
      g.strokeStyle = row.above ? css("--red") : css("--blue"); g.lineWidth = 1.6; g.beginPath();
      this.history.forEach((h, i) => { const y = y0 - (h.rows[k].value ?? 0) * scale; i ? g.lineTo(x(h.t), y) : g.moveTo(x(h.t), y); });
      g.stroke();
    });
  }
}

/** @param {HTMLCanvasElement} canvas @param {{edges_us: number[], counts: number[]}} ticks */
export function drawTicks(canvas, ticks) {
  const ready = prepare(canvas, 150);
  if (!ready) return;
  const { g, width, height } = ready;
  const top = Math.log1p(Math.max(1, ...ticks.counts)), w = width / ticks.counts.length, h = height - 18;
  ticks.counts.forEach((count, k) => {
    const y = Math.log1p(count) / top * h;
    g.fillStyle = css("--blue"); g.fillRect(k * w + 1, h - y, w - 3, y);
    g.fillStyle = css("--soft"); g.font = "10px system-ui"; g.fillText(String(ticks.edges_us[k]), k * w + 1, height - 4);
  });
}
