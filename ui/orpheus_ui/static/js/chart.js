// A minute of numbers as a line.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 36;
const MINUTE_MS = 60_000;

/** Values from 0 to 1 with the moment they were measured; the newest stands at the right. */
export class MinuteChart {
  node = document.createElementNS(SVG, "svg");
  #area = document.createElementNS(SVG, "path");
  #line = document.createElementNS(SVG, "path");
  #points = [];

  constructor() {
    this.node.setAttribute("class", "chart");
    this.node.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.node.setAttribute("preserveAspectRatio", "none");
    this.node.setAttribute("role", "img");
    this.#area.setAttribute("class", "chart-area");
    this.#line.setAttribute("class", "chart-line");
    this.node.append(this.#area, this.#line);
  }

  set label(words) {
    this.node.setAttribute("aria-label", words);
  }

  /** One more value, measured at `now` in milliseconds. */
  push(value, now) {
    this.#points.push({ value, now });
    while (this.#points.length > 2 && now - this.#points[1].now > MINUTE_MS) this.#points.shift();
    const at = (point) => {
      const x = WIDTH - ((now - point.now) / MINUTE_MS) * WIDTH;
      return `${x.toFixed(1)},${(HEIGHT - 1 - point.value * (HEIGHT - 2)).toFixed(1)}`;
    };
    const line = this.#points.map(at).join("L");
    this.#line.setAttribute("d", `M${line}`);
    const left = at(this.#points[0]).split(",")[0];
    this.#area.setAttribute("d", `M${left},${HEIGHT}L${line}L${WIDTH},${HEIGHT}Z`);
  }
}
