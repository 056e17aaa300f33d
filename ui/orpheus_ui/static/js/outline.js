// A speech as a small picture.

const SVG = "http://www.w3.org/2000/svg";
const BARS = 28;
const MOST_LOOKED_AT = 2_000; // samples of a bar

/** How loud it is along the way, `BARS` values from 0 to 1. */
export function outline(samples) {
  const size = Math.max(1, Math.floor(samples.length / BARS));
  const step = Math.max(8, Math.ceil(size / MOST_LOOKED_AT));
  return Array.from({ length: BARS }, (_, bar) => {
    let peak = 0;
    for (let i = bar * size; i < Math.min((bar + 1) * size, samples.length); i += step) peak = Math.max(peak, Math.abs(samples[i]));
    return Number((peak / 32_768).toFixed(2));
  });
}

/** The picture of an outline. */
export function picture(bars) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "outline");
  svg.setAttribute("viewBox", `0 0 ${BARS * 3} 24`);
  svg.setAttribute("aria-hidden", "true");
  bars.forEach((value, bar) => {
    const height = Math.max(1.5, Math.min(1, value * 1.3) * 22);
    const rect = document.createElementNS(SVG, "rect");
    for (const [name, number] of Object.entries({ x: bar * 3, y: 12 - height / 2, width: 2, height, rx: 1 })) rect.setAttribute(name, String(number));
    svg.append(rect);
  });
  return svg;
}
