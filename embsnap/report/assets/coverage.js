// How much of what happens a vocabulary knows.

/** One result of `vocab coverage`, whose path is given. */
function coveragePanel(path) {
  const found = at(path);
  const parts = (key, title) => (found[key].length > (key === "columns" ? 1 : 0) ? [el("h5", {}, title), meters(found[key].map((each, i) => ({
    label: name(each.name), share: each.coverage, value: shown([...path, key, i, "num_events"]),
  })))] : null);
  return panel("Coverage", el("span", {}, "Of the vocabulary ", name(found.uri), " over ", found.events.map((uri, i) => [i ? ", " : "", name(uri)]), "."), [
    figures(
      figure("coverage", shown([...path, "total", "coverage"], percent)),
      figure("OOV rate", shown([...path, "total", "oov_rate"], percent)),
      figure("events", shown([...path, "total", "num_events"])),
      figure("ids", shown([...path, "total", "num_ids"]), "distinct"),
      figure("known ids", shown([...path, "total", "num_known_ids"])),
      figure("nulls", shown([...path, "total", "num_nulls"])),
      found.min_coverage === null ? null : figure("asked for", shown([...path, "min_coverage"], percent), found.ok ? "met" : "not met"),
    ),
    parts("columns", "By column"), parts("strata", "By stratum"),
    found.deciles.length ? [el("h5", {}, "Share of events by decile of the vocabulary's counts"), meters(found.deciles.map((decile, i) => ({
      label: "decile " + decile.number, share: decile.share, value: shown([...path, "deciles", i, "num_hits"]),
    })))] : null,
    found.missing.length ? [el("h5", {}, "Missing ids with the most events"), list([
      { label: "id", cell: (each) => name(each.id), sort: (each) => each.id },
      { label: "events", numeric: true, cell: (each) => number(each.num_events), sort: (each) => num(each.num_events) },
    ], found.missing, { label: "Missing ids", narrow: true })] : null,
  ]);
}

/** Results that belong to no table of this page. */
function coverageSection(indices) {
  if (!indices.length) return null;
  return section("coverage", "Coverage", indices.map((i) => el("article", { class: "card" }, coveragePanel(["coverage", i]))));
}
