// The marks of a chart's layers.

function marks(layer, chart) {
  const make = { area: areaMarks, steps: areaMarks, line: lineMarks, band: bandMarks, bars: barMarks, rule: ruleMarks };
  return make[layer.kind](layer, chart);
}

const rounded = (value) => Math.round(value * 10) / 10;

/** A height in pixels: nothing stands on the axis, on a logarithmic one too. */
function heightOf(value, { y, inner, spec }) {
  return spec.y.log && !(value > 0) ? inner.bottom : rounded(y.of(value));
}

/** A histogram: filled, or as an outline. */
function areaMarks({ edges, counts, style, kind }, chart) {
  const { x, inner } = chart;
  if (!counts.length) return [];
  const outline = counts.map((count, i) =>
    "V" + heightOf(count, chart) + "H" + rounded(x.of(edges[i + 1]))).join("");
  const path = "M" + rounded(x.of(edges[0])) + " " + inner.bottom + outline + "V" + inner.bottom;
  return svg("path", { class: kind + " " + style, d: path + (kind === "area" ? "Z" : "") });
}

function lineMarks({ points, style, dots }, chart) {
  const { x, y } = chart;
  const known = points.filter(([, value]) => Number.isFinite(num(value)) && (!chart.spec.y.log || num(value) > 0));
  const at = known.map(([place, value]) => [rounded(x.of(place)), rounded(y.of(num(value)))]);
  const path = svg("path", { class: "line " + style, d: at.length ? "M" + at.map((each) => each.join(" ")).join("L") : "" });
  return dots || at.length === 1 ? [path, at.map(([cx, cy]) => svg("circle", { class: "dot " + style, cx, cy, r: 2.5 }))] : path;
}

function bandMarks({ points, style }, chart) {
  const { x } = chart;
  const known = points.filter(([, low, high]) => Number.isFinite(num(low)) && Number.isFinite(num(high)));
  if (!known.length) return [];
  const upper = known.map(([place, , high]) => rounded(x.of(place)) + " " + heightOf(num(high), chart));
  const lower = known.map(([place, low]) => rounded(x.of(place)) + " " + heightOf(num(low), chart)).reverse();
  return svg("path", { class: "band " + style, d: "M" + [...upper, ...lower].join("L") + "Z" });
}

function barMarks({ bars, style }, chart) {
  const { x, inner, y, spec } = chart;
  const base = spec.y.log ? inner.bottom : rounded(y.of(0));
  return bars.filter(([, , value]) => Number.isFinite(num(value))).map(([from, to, value]) => {
    const top = heightOf(num(value), chart);
    const width = Math.max(0.5, x.of(to) - x.of(from) - (x.of(to) - x.of(from) > 4 ? 1 : 0));
    return svg("rect", {
      class: "column " + style, x: rounded(x.of(from)), y: Math.min(top, base),
      width: rounded(width), height: Math.max(0, Math.abs(base - top)),
    });
  });
}

function ruleMarks({ at: place, label, style, row = 0 }, { x, inner }) {
  if (!Number.isFinite(place)) return [];
  const left = rounded(x.of(place));
  const turned = left > (inner.left + inner.right) / 2;
  return [
    svg("line", { class: "rule " + style, x1: left, x2: left, y1: inner.top, y2: inner.bottom }),
    label && svg("text", {
      class: "rule-label", x: left + (turned ? -5 : 5), y: inner.top + 10 + 14 * row, "text-anchor": turned ? "end" : "start",
    }, label),
  ];
}

/** Names at the right ends of lines, moved apart where they would lie on each other. */
function endLabels({ spec, x, y, inner, domain }) {
  const ends = spec.layers.filter((layer) => layer.end).map((layer) => {
    const known = layer.points.filter(([place, value]) => Number.isFinite(num(value)) && place <= domain[1]);
    return known.length ? { text: layer.end, at: y.of(num(known[known.length - 1][1])), x: x.of(known[known.length - 1][0]) } : null;
  }).filter(Boolean).sort((a, b) => a.at - b.at);
  let last = inner.top - 6;
  return ends.map((end) => {
    last = Math.min(Math.max(end.at - 6, last + 12), inner.bottom - 3);
    return svg("text", { class: "end-label", x: Math.min(end.x, inner.right) - 4, y: last, "text-anchor": "end" },
      end.text.length > 24 ? end.text.slice(0, 23) + "\u2026" : end.text);
  });
}
