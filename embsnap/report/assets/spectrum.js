// Directions of a table: its singular values, and the spread of each dimension.

const ROUNDING = 1e-8;

/** Singular values over their rank; those that are rounding are left out. */
function spectrumChart(table, before) {
  const values = (each) => {
    const found = each && each.rows.spectrum ? each.rows.spectrum.singular_values.map(num) : [];
    return found.map((value, i) => [i + 1, value]).filter(([, value]) => value > ROUNDING * found[0]);
  };
  const [now, then] = [values(table), values(before)];
  if (!now.length) return null;
  const spectrum = table.rows.spectrum;
  return chartOf({
    title: "Spectrum",
    note: "Singular values. A steep fall: few directions carry the table, and fewer dimensions would do as well.",
    x: { label: "rank", domain: [1, Math.max(2, table.embedding_dim)], whole: true },
    y: { log: true },
    layers: [
      { kind: "line", style: "before", points: then },
      { kind: "line", style: "now", points: now, dots: now.length <= 32 },
      { kind: "rule", style: "now", at: num(spectrum.effective_rank), label: "effective rank " + number(spectrum.effective_rank) },
    ],
    legend: then.length ? [["now", "this snapshot"], ["before", "before"]] : null,
    stops: now.map(([rank, value], i) => ({
      x: rank,
      lines: ["rank " + rank + ": " + number(value), then[i] ? "before: " + number(then[i][1]) : null].filter(Boolean),
    })),
    numbers: () => list([
      { label: "rank", numeric: true, cell: ([rank]) => number(rank) },
      { label: "singular value", numeric: true, cell: ([, value]) => number(value) },
    ], now),
  });
}

/** Mean and standard deviation of each dimension. */
function dimensionChart(table) {
  const [means, stds] = [table.rows.dim_means.map(num), table.rows.dim_stds.map(num)];
  if (!stds.some(Number.isFinite)) return null;
  return chartOf({
    title: "Dimensions",
    note: "Standard deviation (bars) and mean (line) of each. A bar near 0 is a dimension that nothing uses.",
    x: { label: "dimension", domain: [-0.5, stds.length - 0.5], whole: true },
    y: {},
    layers: [
      { kind: "bars", style: "now", bars: stds.map((value, i) => [i - 0.5, i + 0.5, value]) },
      { kind: "line", style: "ink", points: means.map((value, i) => [i, value]) },
    ],
    legend: [["now", "standard deviation"], ["ink", "mean"]],
    stops: stds.map((value, i) => ({
      x: i, lines: ["dimension " + i, "standard deviation " + number(value), "mean " + number(means[i])],
    })),
    numbers: () => list([
      { label: "dimension", numeric: true, cell: (i) => number(i), sort: (i) => i },
      { label: "mean", numeric: true, cell: (i) => number(means[i]), sort: (i) => means[i] },
      { label: "standard deviation", numeric: true, cell: (i) => number(stds[i]), sort: (i) => stds[i] },
    ], stds.map((_, i) => i), { limit: 64 }),
  });
}
