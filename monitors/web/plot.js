// Lines over time, drawn by uPlot, in the colours of the theme.

import { absolute, h, rounded } from "./dom.js";

const clock = (seconds) => new Date(seconds * 1000).toISOString().slice(11, 19);
const HEIGHT = 220;
const SHORTEST = 60; // seconds

/** A plot of series [[label, colour variable]]; draw([seconds, values, ...]) shows points. It follows its width and
 * the theme; its legend says the values under the pointer, else the latest. */
export class Plot {
  constructor(label, series) {
    this.series = series;
    this.element = h("div", { class: "plot", role: "img", "aria-label": label });
    this.sized = new ResizeObserver(() => this.plot?.setSize({ width: this.element.clientWidth, height: HEIGHT }));
    this.sized.observe(this.element);
    this.retheme = () => this.#make();
    document.addEventListener("theme", this.retheme);
  }

  draw(points) {
    this.points = points;
    if (this.plot) this.plot.setData(points);
    else this.#make();
    this.#tell(this.plot);
  }

  #tell(plot) {
    if ((plot.cursor.idx ?? null) === null) plot.setLegend({ idx: plot.data[0].length - 1 }, false); // false: calls no hook
  }

  close() {
    this.sized.disconnect();
    document.removeEventListener("theme", this.retheme);
    this.plot?.destroy();
  }

  #span() {
    const [seconds] = this.points;
    return [seconds[0], Math.max(seconds.at(-1), seconds[0] + SHORTEST)];
  }

  #make() {
    if (!this.points) return;
    this.plot?.destroy();
    const colour = (name) => {
      this.element.style.color = `var(${name})`;
      return getComputedStyle(this.element).color;
    };
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    const lines = this.series.map(([label, variable, dash]) => ({
      label, stroke: colour(variable), width: 1.5, dash, points: { show: (plot) => plot.data[0].length === 1 },
      value: (_, number) => (number === null ? "" : rounded(number)),
    }));
    this.plot = new window.uPlot(
      {
        width: this.element.clientWidth || 600,
        height: HEIGHT,
        legend: { live: true },
        cursor: { y: false },
        hooks: { setLegend: [(plot) => this.#tell(plot)] },
        scales: { x: { range: () => this.#span() } },
        series: [{ label: "UTC", value: (_, seconds) => (seconds === null ? "" : absolute(seconds * 1000)) }, ...lines],
        axes: [{ ...axis, size: 30, values: (_, ticks) => ticks.map(clock) }, { ...axis, size: 90, values: (_, ticks) => ticks.map(rounded) }],
      },
      this.points,
      this.element,
    );
    this.element.style.color = "";
  }
}
