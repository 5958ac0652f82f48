// A run's statistics over its steps.

const SERIES = [
  ["Norms", [["norm.p99", "p99", "before"], ["norm.p50", "median", "now"], ["norm.mean", "mean", "ink"]]],
  ["Shares of rows", [["rows.dead_share", "dead", "before"], ["rows.near_zero_share", "near zero", "now"], ["rows.never_updated_share", "never updated", "ink"]]],
  ["Effective rank", [["spectrum.effective_rank", "effective rank", "now"]]],
  ["Average cosine", [["cosine.mean", "average cosine", "now"]]],
];
const OVER_ALL = ["norm.mean", "norm.p50", "norm.p99", "rows.dead_share", "rows.near_zero_share", "rows.exploded", "rows.non_finite",
  "rows.never_updated_share", "rows.duplicates", "spectrum.effective_rank", "spectrum.stable_rank", "cosine.mean"];

/** The series of a statistic of whole tables: [{table, values}]. */
function seriesOf(statistic, table) {
  return report.history.series.filter((each) =>
    each.part === "all" && each.statistic === statistic && (table === undefined || each.table === table));
}

function stepDomain() {
  const steps = report.history.steps.map((step) => step.step);
  return steps.length > 1 ? [steps[0], steps[steps.length - 1]] : [steps[0] - 0.5, steps[0] + 0.5];
}

function lineChart(title, note, lines, zero) {
  const steps = report.history.steps.map((step) => step.step);
  return chartOf({
    title, note,
    x: { label: "step", domain: stepDomain(), whole: true },
    y: { zero },
    layers: lines.map((line) => ({
      kind: "line", style: line.style, points: steps.map((step, i) => [step, num(line.values[i])]), dots: steps.length <= 24,
      end: line.end,
    })),
    legend: lines.some((line) => line.legend) ? lines.map((line) => [line.style, line.legend]) : null,
    stops: steps.map((step, i) => ({
      x: step,
      lines: ["step " + number(step), ...lines.slice(0, 12).map((line) => visible(line.label) + ": " + number(line.values[i]))],
    })),
    numbers: () => list([
      { label: "step", numeric: true, cell: (i) => number(steps[i]), sort: (i) => steps[i] },
      ...lines.map((line) => ({
        label: visible(line.label), numeric: true, sort: (i) => num(line.values[i]),
        cell: (i) => (line.path ? shown([...line.path, "values", i]) : number(line.values[i])),
      })),
    ], steps.map((_, i) => i)),
  });
}

/** One table over the steps. */
function historyPanel(table) {
  if (!report.history) return null;
  const plots = SERIES.map(([title, wanted]) => {
    const lines = wanted.flatMap(([statistic, label, style]) => seriesOf(statistic, table).map((each) => ({
      label, style, values: each.values, legend: wanted.length > 1 ? label : null,
      path: ["history", "series", report.history.series.indexOf(each)],
    })));
    return lines.length ? lineChart(title, null, lines, title === "Average cosine" ? false : undefined) : null;
  });
  return plots.some(Boolean) ? panel("Over the steps", null, el("div", { class: "plots" }, plots)) : null;
}

/** All tables over the steps, one statistic at a time. */
function historySection() {
  if (!report.history) return null;
  const known = OVER_ALL.filter((statistic) => seriesOf(statistic).length);
  const place = el("div", {});
  const select = el("select", { id: "statistic" }, known.map((statistic) => el("option", { value: statistic }, statistic)));
  const show = () => {
    const found = seriesOf(select.value);
    const named = found.length <= 8;
    place.replaceChildren(lineChart(select.value, null, found.map((each, i) => ({
      label: each.table, values: each.values, style: i === 0 && found.length === 1 ? "now" : "tone-" + (i % 4),
      end: named && found.length > 1 ? visible(each.table) : null, path: ["history", "series", report.history.series.indexOf(each)],
    }))));
  };
  select.addEventListener("change", show);
  if (known.length) show();
  const steps = report.history.steps;
  const torn = report.run ? report.run.steps.filter((step) => !step.committed).length : 0;
  return section("history", "History", el("div", { class: "card" },
    el("p", { class: "note" }, counted(steps.length, "committed step") + ", " + number(steps[0].step) + " to "
      + number(steps[steps.length - 1].step) + (torn ? "; " + counted(torn, "step") + " not finished" : "") + "."),
    known.length ? el("label", { class: "choice", for: "statistic" }, "Statistic ", select) : null, place));
}
