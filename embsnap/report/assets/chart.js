// Charts in SVG, drawn as wide as they are shown.
//
// A chart is {title, note, x, y, layers, stops, legend, numbers, marks}:
//   x, y    {label, log, domain, format, whole, bytes}; y's domain follows from what is visible
//   layers  {kind: "area" | "steps", edges, counts} | {kind: "line", points: [[x, y]], end} | {kind: "band",
//           points: [[x, low, high]]} | {kind: "bars", bars: [[from, to, value]]} | {kind: "rule", at, label},
//           each with a `style`, the class of its marks
//   stops   [{x, lines: [text]}], ascending: what the pointer and the arrow keys read out
//   legend  [[style, text]]
//   numbers () => an element with the same as numbers

const HEIGHT = 210;
const LETTER = 6.8;
const MARGIN = { left: 14, right: 12, top: 12, bottom: 36 };
const charts = new WeakMap();
const widths = new ResizeObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.get(entry.target);
    const width = Math.round(entry.contentRect.width);
    if (chart && width && width !== chart.width) draw(Object.assign(chart, { width }));
  }
});
let numCharts = 0;

/** The figure of a chart. */
function chartOf(spec) {
  numCharts += 1;
  const id = "chart-" + numCharts;
  const picture = svg("svg", { class: "chart", role: "application", tabindex: "0", "aria-labelledby": id });
  picture.setAttribute("aria-description", "Arrow keys read values out, plus and minus zoom, Escape shows all.");
  const frame = el("div", { class: "frame" }, picture);
  const reset = el("button", { type: "button", class: "reset", hidden: true }, "Show all");
  const full = widened(spec.x.domain, spec.x.log);
  const chart = { spec, picture, frame, reset, width: 480, domain: full, full, stop: null };
  reset.addEventListener("click", () => zoom(chart, chart.full));
  charts.set(frame, chart);
  const toggle = spec.y.canLog && logToggle(chart);
  const legend = spec.legend && el("span", { class: "legend" }, spec.legend.map(
    ([style, text]) => el("span", {}, el("i", { class: "key " + style }), text),
  ));
  const node = el(
    "figure", { class: "plot" },
    el("figcaption", {}, el("span", { class: "title", id }, spec.title), reset, toggle),
    spec.note && el("p", { class: "note" }, spec.note), legend, frame,
    spec.numbers && numbersOf(spec.numbers),
  );
  draw(chart);
  listen(chart);
  widths.observe(frame);
  return node;
}

function logToggle(chart) {
  const box = el("input", { type: "checkbox", checked: chart.spec.y.log });
  box.addEventListener("change", () => { chart.spec.y.log = box.checked; draw(chart); });
  return el("label", { class: "toggle" }, box, "log counts");
}

/** What unfolds to the chart's numbers, made when it is opened. */
function numbersOf(make) {
  const details = el("details", { class: "numbers" }, el("summary", {}, "Numbers"));
  details.addEventListener("toggle", () => { if (details.children.length === 1) details.append(make()); });
  return details;
}

/** Show another part of the x axis. */
function zoom(chart, [low, high]) {
  const [first, last] = chart.full;
  const domain = [Math.max(first, Math.min(low, high)), Math.min(last, Math.max(low, high))];
  if (!(domain[1] > domain[0])) return;
  chart.domain = domain;
  chart.reset.hidden = domain[0] === first && domain[1] === last;
  draw(chart);
}

function draw(chart) {
  const { spec, picture, width } = chart;
  const inner = { right: width - MARGIN.right, top: MARGIN.top, bottom: HEIGHT - MARGIN.bottom };
  chart.y = scale(yDomain(spec, chart.domain), [inner.bottom, inner.top], { spacing: 34, ...spec.y });
  inner.left = MARGIN.left + LETTER * Math.max(...chart.y.ticks.map((tick) => (spec.y.format || tickText)(tick).length));
  chart.x = scale(chart.domain, [inner.left, inner.right], { spacing: 60, ...spec.x });
  chart.inner = inner;
  picture.setAttribute("viewBox", "0 0 " + width + " " + HEIGHT);
  picture.replaceChildren(...axes(chart), ...clipped(chart), ...endLabels(chart));
}

/** From the values in sight: zero at the bottom of counts, a little room above. */
function yDomain(spec, [low, high]) {
  const values = spec.layers.flatMap((layer) => heights(layer, low, high)).filter(Number.isFinite);
  if (spec.y.log) {
    const positive = values.filter((value) => value > 0);
    if (!positive.length) return [0.1, 1];
    return [Math.min(...positive) * (spec.y.counts ? 0.5 : 0.8), Math.max(...positive) * 1.3];
  }
  const bounds = spec.y.zero === false ? values : [0, ...values];
  const [least, most] = [bounds.reduce((a, b) => Math.min(a, b), Infinity), bounds.reduce((a, b) => Math.max(a, b), -Infinity)];
  if (!Number.isFinite(least)) return [0, 1];
  const [bottom, top] = widened([least, most], false);
  const room = (top - bottom) * 0.06;
  return [spec.y.zero === false || least < 0 ? bottom - room : 0, top + room];
}

function heights(layer, low, high) {
  const inside = (x) => x >= low && x <= high;
  if (layer.kind === "line") return layer.points.filter(([x]) => inside(x)).map(([, y]) => num(y));
  if (layer.kind === "band") return layer.points.filter(([x]) => inside(x)).flatMap(([, from, to]) => [num(from), num(to)]);
  if (layer.kind === "bars") return layer.bars.filter(([from, to]) => to >= low && from <= high).map(([, , value]) => num(value));
  if (layer.kind === "rule") return [];
  return layer.counts.filter((_, i) => layer.edges[i + 1] >= low && layer.edges[i] <= high);
}

function axes({ spec, x, y, inner }) {
  const across = y.ticks.map((tick) => svg("g", {},
    svg("line", { class: "grid", x1: inner.left, x2: inner.right, y1: y.of(tick), y2: y.of(tick) }),
    svg("text", { class: "tick", x: inner.left - 7, y: y.of(tick) + 4, "text-anchor": "end" }, (spec.y.format || tickText)(tick))));
  const down = x.ticks.map((tick) => svg("text",
    { class: "tick", x: x.of(tick), y: inner.bottom + 16, "text-anchor": "middle" }, (spec.x.format || tickText)(tick)));
  return [
    ...across, ...down,
    svg("line", { class: "axis", x1: inner.left, x2: inner.right, y1: inner.bottom, y2: inner.bottom }),
    svg("text", { class: "axis-label", x: inner.right, y: HEIGHT - 4, "text-anchor": "end" }, spec.x.label),
  ];
}

function clipped(chart) {
  const { inner, spec } = chart;
  const id = "clip-" + (spec.clip = spec.clip || (numCharts += 1));
  const box = { x: inner.left - 3, y: inner.top - 4, width: Math.max(0, inner.right - inner.left) + 6, height: inner.bottom - inner.top + 4 };
  return [
    svg("clipPath", { id }, svg("rect", box)),
    svg("g", { "clip-path": "url(#" + id + ")" }, spec.layers.map((layer) => marks(layer, chart))),
    svg("g", { class: "cursor" }),
  ];
}
