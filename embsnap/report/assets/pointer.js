// Reading charts out and zooming into them, with the pointer and with the keyboard.

function listen(chart) {
  const { picture } = chart;
  chart.tip = el("div", { class: "tip", role: "status", hidden: true });
  chart.frame.append(chart.tip);
  picture.addEventListener("pointermove", (event) => moved(chart, placeOf(chart, event)));
  picture.addEventListener("pointerdown", (event) => began(chart, event));
  picture.addEventListener("pointerup", (event) => ended(chart, event));
  picture.addEventListener("pointercancel", () => { chart.from = null; hideTip(chart); });
  picture.addEventListener("pointerleave", () => { if (chart.from === null) hideTip(chart); });
  picture.addEventListener("dblclick", () => zoom(chart, chart.full));
  picture.addEventListener("blur", () => hideTip(chart));
  picture.addEventListener("keydown", (event) => {
    if (pressed(chart, event.key)) event.preventDefault();
  });
  chart.from = null;
}

/** Where the pointer is, in the chart's pixels. */
function placeOf(chart, event) {
  const box = chart.picture.getBoundingClientRect();
  const place = ((event.clientX - box.left) / box.width) * chart.width;
  return Math.min(chart.inner.right, Math.max(chart.inner.left, place));
}

function began(chart, event) {
  if (event.button !== 0) return;
  chart.from = placeOf(chart, event);
  chart.picture.setPointerCapture(event.pointerId);
}

function moved(chart, place) {
  const stop = nearestStop(chart, place);
  if (stop !== null) showStop(chart, stop);
  if (chart.from === null) return;
  const [left, right] = [Math.min(chart.from, place), Math.max(chart.from, place)];
  const box = { class: "selection", x: left, width: right - left, y: chart.inner.top, height: chart.inner.bottom - chart.inner.top };
  chart.picture.querySelector(".cursor").append(svg("rect", box));
}

function ended(chart, event) {
  const [from, to] = [chart.from, placeOf(chart, event)];
  chart.from = null;
  if (from !== null && Math.abs(to - from) > 6) zoom(chart, [chart.x.back(from), chart.x.back(to)]);
  else if (from !== null) moved(chart, to);
}

function visibleStops(chart) {
  const [low, high] = chart.domain;
  return chart.spec.stops.filter((stop) => stop.x >= low && stop.x <= high);
}

function nearestStop(chart, place) {
  let nearest = null;
  for (const stop of visibleStops(chart)) {
    if (nearest === null || Math.abs(chart.x.of(stop.x) - place) < Math.abs(chart.x.of(nearest.x) - place)) nearest = stop;
  }
  return nearest;
}

function showStop(chart, stop) {
  const left = chart.x.of(stop.x);
  chart.stop = stop;
  chart.picture.querySelector(".cursor").replaceChildren(
    svg("line", { class: "hair", x1: left, x2: left, y1: chart.inner.top, y2: chart.inner.bottom }));
  chart.tip.replaceChildren(...stop.lines.map((line) => el("div", {}, line)));
  chart.tip.hidden = false;
  const onLeft = left > chart.width / 2;
  const share = left / chart.width;
  chart.tip.style.left = onLeft ? "auto" : "calc(" + 100 * share + "% + 10px)";
  chart.tip.style.right = onLeft ? "calc(" + 100 * (1 - share) + "% + 10px)" : "auto";
}

function hideTip(chart) {
  chart.tip.hidden = true;
  chart.stop = null;
  chart.picture.querySelector(".cursor").replaceChildren();
}

/** Whether a key means something here. */
function pressed(chart, key) {
  const stops = visibleStops(chart);
  const index = chart.stop === null ? -1 : stops.indexOf(chart.stop);
  const steps = { ArrowRight: index + 1, ArrowLeft: index < 0 ? stops.length - 1 : index - 1, Home: 0, End: stops.length - 1 };
  if (key in steps) {
    if (stops.length) showStop(chart, stops[Math.min(stops.length - 1, Math.max(0, steps[key]))]);
    return true;
  }
  if (key === "+" || key === "=") zoomBy(chart, 0.5);
  else if (key === "-") zoomBy(chart, 2);
  else if (key === "Escape" || key === "0") { zoom(chart, chart.full); hideTip(chart); }
  else return false;
  return true;
}

/** Zoom around what is read out, or around the middle. */
function zoomBy(chart, factor) {
  const { left, right } = chart.inner;
  const middle = chart.stop === null ? (left + right) / 2 : chart.x.of(chart.stop.x);
  const half = ((right - left) / 2) * factor;
  const start = Math.min(Math.max(middle - half, factor < 1 ? left : -Infinity), factor < 1 ? right - 2 * half : Infinity);
  const stop = chart.stop;
  zoom(chart, [chart.x.back(start), chart.x.back(start + 2 * half)]);
  if (stop !== null && visibleStops(chart).includes(stop)) showStop(chart, stop);
}
