// What changed since the snapshot before: entities, the drift of their rows, top movers, neighbours.

const SPREADS = [
  ["cosine", "Cosine to the row before", "cosine", "1 is the same direction. A low tail: entities that point elsewhere, wrong for whatever still reads them as before."],
  ["relative_l2", "Relative change", "\u2016b \u2212 a\u2016 / \u2016a\u2016 (log)", "Above 1, rows moved by more than their own length."],
];

/** Everything about one table of a diff, whose path is given. */
function driftPanel(path) {
  const found = at(path);
  const { matching, drift } = found;
  const by = matching.by === "entity" ? "Rows are matched by entity" : "Rows are matched by position: nothing says which entities they belong to";
  return panel("Since the snapshot before", by + ".", [
    found.changes.length ? changeList(found.changes) : null,
    figures(
      figure("shared", shown([...path, "matching", "num_shared"])),
      figure("born", shown([...path, "matching", "num_born"])),
      figure("gone", shown([...path, "matching", "num_gone"])),
      figure("moved to another row", shown([...path, "matching", "num_moved"])),
      drift && figure("unchanged", shown([...path, "drift", "num_identical"])),
      drift && drift.cosine && figure("median cosine", shown([...path, "drift", "cosine", "percentiles", "p50"])),
      drift && drift.cosine && figure("cosine p5", shown([...path, "drift", "cosine", "percentiles", "p5"])),
      drift && drift.relative_l2 && figure("median change", shown([...path, "drift", "relative_l2", "percentiles", "p50"])),
      found.neighbors && figure("neighbours kept", shown([...path, "neighbors", "mean"], percent), "of " + found.neighbors.k + " nearest"),
    ),
    found.not_compared ? el("p", { class: "note" }, "Rows are not compared: " + found.not_compared + ".") : null,
    drift && drift.beyond.length ? meters(drift.beyond.map((each, i) => ({
      label: "beyond " + each.threshold, share: each.share, value: shown([...path, "drift", "beyond", i, "num"]),
    }))) : null,
    el("div", { class: "plots" }, drift ? SPREADS.map(([key, ...texts]) => spreadChart(drift[key], key, texts)) : [],
      found.procrustes ? spreadChart(found.procrustes.drift.cosine, "cosine", ["Cosine after the best rotation", "cosine", "Low before and high here: the whole space turned, and relations stayed."]) : null,
      found.neighbors ? neighborChart(found.neighbors) : null),
    moverList(path),
    entityLists(matching),
  ]);
}

function changeList(changes) {
  return list([
    { label: "changed", cell: (change) => name(change.what) },
    { label: "before", cell: (change) => (change.a === null ? NOTHING : name(change.a)) },
    { label: "now", cell: (change) => (change.b === null ? NOTHING : name(change.b)) },
  ], changes);
}

/** A distribution's histogram, without the empty bins at its ends. */
function spreadChart(spread, key, [title, label, note]) {
  if (!spread) return null;
  const { edges, counts } = spread.histogram;
  const used = counts.map((count, i) => (count ? i : -1)).filter((i) => i >= 0);
  if (!used.length) return null;
  const [first, last] = [used[0], used[used.length - 1] + 1];
  const inside = { edges: edges.slice(first, last + 1), counts: counts.slice(first, last) };
  const log = key === "relative_l2" && inside.edges[0] > 0;
  return chartOf({
    title, note,
    x: { label, log, domain: [inside.edges[0], inside.edges.at(-1)] },
    y: { counts: true, canLog: true, log: false },
    layers: [
      { kind: "area", style: "now", ...inside },
      { kind: "rule", style: "now", at: num(spread.percentiles.p50), label: "median " + number(spread.percentiles.p50) },
    ],
    stops: binStops([["rows", inside]], log, "rows"),
    numbers: () => histogramNumbers([["rows", inside]], key === "cosine" ? "cosine" : "change"),
  });
}

function neighborChart(neighbors) {
  const bars = neighbors.histogram.map((count, kept) => [kept - 0.5, kept + 0.5, count]);
  return chartOf({
    title: "Nearest neighbours kept",
    note: "On a sample of " + number(neighbors.num_sampled) + ". Low: an index of nearest neighbours built before is stale.",
    x: { label: "of " + neighbors.k + " nearest", domain: [-0.5, bars.length - 0.5], whole: true },
    y: { counts: true },
    layers: [{ kind: "bars", style: "now", bars }],
    stops: bars.map(([, , count], kept) => ({ x: kept, lines: ["keep " + kept + " of " + neighbors.k, number(count) + " entities"] })),
    numbers: () => list([
      { label: "kept", numeric: true, cell: ([from]) => number(from + 0.5) },
      { label: "entities", numeric: true, cell: ([, , count]) => number(count) },
    ], bars),
  });
}

function moverList(path) {
  const movers = at([...path, "movers"]).map((mover, i) => ({ ...mover, path: [...path, "movers", i] }));
  if (!movers.length) return null;
  const column = (key, label) => ({
    label, numeric: true, cell: (mover) => shown([...mover.path, key]), sort: (mover) => num(mover[key]),
  });
  const isNamed = movers.some((mover) => mover.id !== null);
  return [el("h5", {}, "Top movers"), list([
    isNamed ? { label: "entity", cell: (mover) => name(mover.id), sort: (mover) => mover.id } : column("row_b", "row"),
    column("distance", "distance"), column("cosine", "cosine"), column("relative_l2", "relative"),
    column("norm_a", "norm before"), column("norm_b", "norm now"),
    ...(isNamed ? [column("row_a", "row before"), column("row_b", "row now")] : []),
    ...(movers.some((mover) => mover.count !== null) ? [column("count", "count")] : []),
  ], movers, { label: "Top movers" })];
}

function entityLists({ born, gone }) {
  return [["Born", born], ["Gone", gone]].filter(([, entities]) => entities.length).map(([title, entities]) => el(
    "details", { class: "numbers" }, el("summary", {}, title + ", for example"),
    list([
      { label: "entity", cell: (entity) => name(entity.id), sort: (entity) => entity.id },
      { label: "row", numeric: true, cell: (entity) => number(entity.row), sort: (entity) => num(entity.row) },
      { label: "count", numeric: true, cell: (entity) => number(entity.count), sort: (entity) => num(entity.count) },
    ], entities),
  ));
}
