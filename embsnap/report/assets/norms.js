// Norms of rows: how they are spread, and how they go with popularity and dimension.

/** A histogram with fewer bins to the octave: {edges, counts}. Its bins are unions of the finer one's. */
function coarsened({ edges, counts, bins_per_octave: fine }, bins) {
  if (fine === bins) return { edges, counts };
  const sums = new Map();
  const keyOf = (edge) => {
    const octave = Math.floor(Math.log2(edge) + 1e-12);
    return octave * bins + Math.floor((edge / 2 ** octave - 1) * bins + 1e-9);
  };
  counts.forEach((count, i) => sums.set(keyOf(edges[i]), (sums.get(keyOf(edges[i])) || 0) + count));
  const [first, last] = [Math.min(...sums.keys()), Math.max(...sums.keys())];
  const keys = Array.from({ length: last - first + 2 }, (_, i) => first + i);
  return {
    edges: keys.map((key) => 2 ** Math.floor(key / bins) * (1 + (key - bins * Math.floor(key / bins)) / bins)),
    counts: keys.slice(0, -1).map((key) => sums.get(key) || 0),
  };
}

/** So many bins to the octave that the histograms together have about twice the cube root of the rows, at most 96. */
function binsFor(histograms, numRows) {
  const limit = Math.max(12, Math.min(96, 2 * Math.cbrt(numRows)));
  const octaves = Math.log2(Math.max(...histograms.map((each) => each.edges.at(-1))) / Math.min(...histograms.map((each) => each.edges[0])));
  let bins = Math.min(...histograms.map((each) => each.bins_per_octave));
  while (bins > 1 && bins * octaves > 1.5 * limit) bins /= 2;
  return bins;
}

/** Histograms of norms of this snapshot and the one before, in the same bins. */
function normChart(table, before) {
  const found = [table, before].map((each) => (each && each.rows.norms ? each.rows.norms.histogram : null));
  const filled = found.filter((each) => each && each.counts.length);
  if (!filled.length) return null;
  const bins = binsFor(filled, table.rows.num_rows);
  const [now, then] = found.map((each) => (each && each.counts.length ? coarsened(each, bins) : null));
  const all = [now, then].filter(Boolean);
  const domain = [Math.min(...all.map((each) => each.edges[0])), Math.max(...all.map((each) => each.edges.at(-1)))];
  return chartOf({
    title: "Norms of rows",
    note: "Long upper tails are rows that dominate every dot product; rows of norm 0 are left out.",
    x: { label: "norm (log)", log: true, domain },
    y: { counts: true, canLog: true, log: true },
    layers: [now && { kind: "area", style: "now", ...now }, then && { kind: "steps", style: "before", ...then }].filter(Boolean),
    legend: then ? [["now", "this snapshot"], ["before", "before"]] : null,
    stops: binStops([["this snapshot", now], ["before", then]], true, "rows"),
    numbers: () => histogramNumbers([["rows", now], ["rows before", then]], "norm"),
  });
}

/** What the pointer reads out of histograms in the same bins. */
function binStops(named, log, noun) {
  const bins = new Map();
  for (const [label, found] of named) {
    if (!found) continue;
    found.counts.forEach((count, i) => {
      const [low, high] = [found.edges[i], found.edges[i + 1]];
      const stop = bins.get(low) || { x: log ? Math.sqrt(low * high) : (low + high) / 2, lines: [number(low) + " to " + number(high)] };
      stop.lines.push((named.filter(([, each]) => each).length > 1 ? label + ": " : "") + counted(count, noun.replace(/s$/, "")));
      bins.set(low, stop);
    });
  }
  return [...bins.values()].sort((a, b) => a.x - b.x);
}

function histogramNumbers(named, label) {
  const known = named.filter(([, found]) => found);
  const rows = new Map();
  known.forEach(([, found], k) => found.counts.forEach((count, i) => {
    const row = rows.get(found.edges[i]) || { low: found.edges[i], high: found.edges[i + 1], counts: known.map(() => 0) };
    row.counts[k] = count;
    rows.set(found.edges[i], row);
  }));
  const columns = [
    { label: label + " from", numeric: true, cell: (row) => number(row.low) },
    { label: "to", numeric: true, cell: (row) => number(row.high) },
    ...known.map(([text], k) => ({ label: text, numeric: true, cell: (row) => number(row.counts[k]) })),
  ];
  return list(columns, [...rows.values()].sort((a, b) => a.low - b.low));
}

/** Norms by decile of popularity. */
function popularityChart(table, before) {
  const deciles = (each) => (each && each.popularity ? each.popularity.deciles.filter((decile) => decile.rows.norms) : []);
  const [now, then] = [deciles(table), deciles(before)];
  if (!now.length) return null;
  const middle = (decile) => [decile.number, decile.rows.norms.percentiles.p50];
  return chartOf({
    title: "Norm by popularity",
    note: "Median and middle half of each tenth of the entities, the most frequent on the left. A steep fall: length stands for popularity.",
    x: { label: "decile by count, 1 is the most frequent", domain: [0.5, 10.5], whole: true },
    y: {},
    layers: [
      { kind: "band", style: "now", points: now.map((d) => [d.number, d.rows.norms.percentiles.p25, d.rows.norms.percentiles.p75]) },
      { kind: "line", style: "before", points: then.map(middle), dots: true },
      { kind: "line", style: "now", points: now.map(middle), dots: true },
    ],
    legend: then.length ? [["now", "this snapshot"], ["before", "before"]] : null,
    stops: now.map((decile) => ({ x: decile.number, lines: decileLines(decile) })),
    numbers: () => decileNumbers(now),
  });
}

function decileLines(decile) {
  const { percentiles } = decile.rows.norms;
  return [
    "decile " + decile.number + ": counts " + number(decile.min_count) + " to " + number(decile.max_count),
    "median norm " + number(percentiles.p50) + ", middle half " + number(percentiles.p25) + " to " + number(percentiles.p75),
    number(decile.num_entities) + " entities, " + number(decile.rows.num_dead) + " dead",
  ];
}

function decileNumbers(deciles) {
  const column = (label, of) => ({ label, numeric: true, cell: (decile) => number(of(decile)), sort: (decile) => num(of(decile)) });
  return list([
    column("decile", (d) => d.number),
    column("entities", (d) => d.num_entities),
    column("largest count", (d) => d.max_count),
    column("least count", (d) => d.min_count),
    column("mean norm", (d) => d.rows.norms.mean),
    column("median norm", (d) => d.rows.norms.percentiles.p50),
    column("dead", (d) => d.rows.num_dead),
    column("near zero", (d) => d.rows.num_near_zero),
    column("average cosine", (d) => d.rows.mean_cosine),
  ], deciles);
}
