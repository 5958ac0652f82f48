// One card for each table, with all there is to say of it.

/** The tables of all results, each once: {name, id, stats, inspected, before, diff, coverage, warmstart, findings}. */
function tablesOf() {
  const found = new Map();
  const entry = (text) => {
    if (!found.has(text)) found.set(text, { name: text, id: "table-" + found.size, coverage: [], findings: [] });
    return found.get(text);
  };
  const inspected = (report.inspection || { tables: [] }).tables;
  for (const [i, table] of ((report.stats || {}).tables || []).entries()) {
    const same = (each) => each.path === table.path;
    Object.assign(entry(table.name), {
      path: ["stats", "tables", i], stats: table, inspected: inspected.find(same),
      before: ((report.before || {}).tables || []).find(same),
    });
  }
  for (const table of inspected) if (![...found.values()].some((each) => each.inspected === table)) entry(table.name).inspected = table;
  for (const [i, table] of ((report.diff || {}).tables || []).entries()) entry(table.b.name).diff = ["diff", "tables", i];
  for (const [i, table] of ((report.warmstart || {}).tables || []).entries()) entry(table.name).warmstart = ["warmstart", "tables", i];
  for (const series of (report.history || { series: [] }).series) entry(series.table);
  for (const finding of report.findings) if (found.has(finding.place)) found.get(finding.place).findings.push(finding);
  return assignCoverage([...found.values()]);
}

/** What tells a table's shape, whichever result has it. */
function knownOf({ stats, inspected, warmstart }) {
  return stats || inspected || (warmstart ? at(warmstart) : {});
}

/** Coverage belongs to the table whose vocabulary it is of. */
function assignCoverage(tables) {
  report.coverage.forEach((result, i) => {
    const vocabularies = (table) => [
      table.stats && table.stats.popularity ? table.stats.popularity.vocabulary : null,
      table.inspected ? table.inspected.vocabulary : null,
      table.diff ? at(table.diff).b.vocab : null,
    ];
    const owners = tables.filter((table) => vocabularies(table).includes(result.uri));
    for (const table of owners) table.coverage.push(i);
  });
  return tables;
}

function cardOf(table) {
  return el("article", { class: "card table-card", id: table.id, "aria-labelledby": table.id + "-title" },
    el("header", {}, el("h3", { id: table.id + "-title" }, name(table.name)), facts(table)),
    table.findings.map((finding) => findingOf(finding, true)),
    table.stats ? statsPanels(table) : null,
    table.diff ? driftPanel(table.diff) : null,
    table.coverage.map((i) => coveragePanel(["coverage", i])),
    table.warmstart ? warmstartPanel(table.warmstart) : null,
    historyPanel(table.name),
    table.stats ? shardPanel(table.stats, table.inspected) : null);
}

/** Shape, type and place in one line. */
function facts(table) {
  const [known, { stats, inspected }] = [knownOf(table), table];
  if (known.num_embeddings === undefined) return null;
  const state = inspected && inspected.state.length ? "optimizer state " + inspected.state.map((each) => each.name).join(", ") : null;
  const skipped = stats ? null : ((report.stats || { skipped: [] }).skipped.find((each) => each.name === known.name) || {}).reason;
  return el("p", { class: "facts" }, [
    number(known.num_embeddings) + " rows \u00d7 " + known.embedding_dim, known.dtype,
    stats || inspected ? bytes(known.num_bytes) : null, known.sharding, state,
    stats && stats.sample_rows ? "statistics of a sample of " + number(stats.sample_rows) + " rows" : null,
    skipped ? "no statistics: " + skipped : null,
  ].filter(Boolean).map((text) => el("span", {}, text)));
}

function statsPanels(table) {
  return [
    rowFigures(table),
    el("div", { class: "plots" }, normChart(table.stats, table.before), popularityChart(table.stats, table.before),
      spectrumChart(table.stats, table.before), dimensionChart(table.stats)),
    intervals(table),
  ];
}

function rowFigures({ stats, path }) {
  const { rows } = stats;
  const count = (label, key) => figure(label, shown([...path, "rows", key]), rows.num_rows && rows[key] ? percent(rows[key] / rows.num_rows) : null);
  const direction = (label, key, note) => rows.spectrum && figure(label, shown([...path, "rows", "spectrum", key]), note);
  return figures(
    rows.norms && figure("mean norm", shown([...path, "rows", "norms", "mean"]), "\u00b1 " + number(rows.norms.std)),
    rows.norms && figure("median norm", shown([...path, "rows", "norms", "percentiles", "p50"])),
    rows.norms && figure("p99 norm", shown([...path, "rows", "norms", "percentiles", "p99"])),
    rows.norms && figure("largest norm", shown([...path, "rows", "norms", "percentiles", "p100"])),
    count("dead", "num_dead"), count("near zero", "num_near_zero"), count("exploded", "num_exploded"), count("non-finite", "num_non_finite"),
    rows.num_never_updated === null
      ? figure("never updated", el("span", { class: "unknown" }, "unknown"))
      : count("never updated", "num_never_updated"),
    stats.duplicates && figure("duplicates", shown([...path, "duplicates", "num_duplicates"]), percent(stats.duplicates.num_duplicates / rows.num_rows)),
    direction("effective rank", "effective_rank", "of " + stats.embedding_dim),
    direction("stable rank", "stable_rank"), direction("information abundance", "information_abundance"), direction("IsoScore", "iso_score"),
    figure("average cosine", shown([...path, "rows", "mean_cosine"])),
    stats.popularity && figure("norm\u2013count correlation", shown([...path, "popularity", "norm_correlation"]), "Spearman"),
  );
}

/** 95 % confidence intervals of a sample's statistics. */
function intervals({ stats }) {
  const known = Object.entries(stats.intervals);
  return known.length ? el("details", { class: "numbers" }, el("summary", {}, "95 % confidence intervals"), list([
    { label: "statistic", cell: ([text]) => text, sort: ([text]) => text },
    { label: "from", numeric: true, cell: ([, found]) => number(found.low) },
    { label: "to", numeric: true, cell: ([, found]) => number(found.high) },
  ], known)) : null;
}
