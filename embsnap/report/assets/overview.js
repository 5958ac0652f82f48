// What one sees first: figures, all tables in a list, and findings.

const SEVERITIES = ["error", "warning", "note"];

function overview(tables) {
  const withStats = tables.filter((table) => table.stats);
  const sum = (of) => tables.reduce((total, table) => total + (of(table.stats || table.inspected) || 0), 0);
  const isKnown = tables.some((table) => table.stats || table.inspected);
  const count = (severity) => report.findings.filter((finding) => finding.severity === severity).length;
  return section("overview", "Overview", el("div", { class: "card" },
    figures(
      figure("tables", number(tables.length)),
      isKnown ? figure("rows", number(sum((each) => each && each.num_embeddings))) : null,
      isKnown ? figure("weights", bytes(sum((each) => each && each.num_bytes))) : null,
      report.inspection && figure("ranks", shown(["inspection", "world_size"])),
      report.stats && report.stats.step !== null ? figure("step", shown(["stats", "step"])) : null,
      figure("errors", number(count("error"))), figure("warnings", number(count("warning"))),
    ),
    changesOfSnapshots(), withStats.length ? search(tables) : null, tables.length ? tableList(tables) : null));
}

/** What the two snapshots differ in outside of the tables that both have. */
function changesOfSnapshots() {
  if (!report.diff) return null;
  const { only_a: gone, only_b: added, changes, a, same } = report.diff;
  const names = (list) => list.map((text, i) => [i ? ", " : "", name(text)]);
  return [
    el("p", { class: "note" }, "Compared with ", name(a.uri), same ? ": the same tables, entities and values." : "."),
    gone.length ? el("p", {}, "Tables that are gone: ", names(gone), ".") : null,
    added.length ? el("p", {}, "New tables: ", names(added), ".") : null,
    changes.length ? el("details", { class: "numbers" }, el("summary", {}, counted(changes.length, "change") + " outside of tables"), list([
      { label: "place", cell: (change) => name(change.place), sort: (change) => change.place },
      { label: "what", cell: (change) => name(change.what) },
      { label: "before", cell: (change) => (change.a === null ? NOTHING : name(change.a)) },
      { label: "now", cell: (change) => (change.b === null ? NOTHING : name(change.b)) },
    ], changes, { limit: 50 })) : null,
  ];
}

/** Shows the tables whose name has what is typed, in the list and below. */
function search(tables) {
  const status = el("span", { class: "status", role: "status" });
  const box = el("input", { type: "search", id: "search", placeholder: "Search tables", "aria-label": "Search tables", autocomplete: "off" });
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase();
    let numShown = 0;
    for (const table of tables) {
      const isShown = visible(table.name).toLowerCase().includes(wanted);
      numShown += isShown;
      for (const place of document.querySelectorAll("[data-table=" + table.id + "], #" + table.id)) place.classList.toggle("filtered", !isShown);
    }
    status.textContent = wanted ? numShown + " of " + tables.length : "";
  });
  return el("div", { class: "search" }, box, status);
}

function tableList(tables) {
  const value = (label, path, format = number) => ({
    label, numeric: true,
    cell: (table) => (table.path && at([...table.path, ...path]) !== undefined ? shown([...table.path, ...path], format) : NOTHING),
    sort: (table) => (table.path ? num(at([...table.path, ...path])) : NaN),
  });
  const hasSizes = tables.some((table) => table.stats || table.inspected);
  const cosine = (table) => (table.diff ? [...table.diff, "drift", "cosine", "percentiles", "p5"] : null);
  const columns = [
    { label: "table", cell: (table) => el("a", { href: "#" + table.id }, name(table.name)), sort: (table) => visible(table.name) },
    { label: "rows", numeric: true, cell: (table) => number(knownOf(table).num_embeddings), sort: (table) => num(knownOf(table).num_embeddings) },
    { label: "dim", numeric: true, cell: (table) => number(knownOf(table).embedding_dim), sort: (table) => num(knownOf(table).embedding_dim) },
    ...(hasSizes ? [{
      label: "size", numeric: true, cell: (table) => bytes(knownOf(table).num_bytes), sort: (table) => num(knownOf(table).num_bytes),
    }] : []),
    ...(report.stats ? [
      value("mean norm", ["rows", "norms", "mean"]), value("dead", ["rows", "num_dead"]), value("exploded", ["rows", "num_exploded"]),
      value("non-finite", ["rows", "num_non_finite"]), value("effective rank", ["rows", "spectrum", "effective_rank"]),
      value("average cosine", ["rows", "mean_cosine"]),
    ] : []),
    ...(report.diff ? [{
      label: "drift: cosine p5", numeric: true, cell: (table) => (cosine(table) && at(cosine(table)) !== undefined ? shown(cosine(table)) : NOTHING),
      sort: (table) => (cosine(table) ? num(at(cosine(table))) : NaN),
    }] : []),
    { label: "findings", numeric: true, cell: (table) => badge(table.findings), sort: (table) => table.findings.length },
  ];
  return list(columns, tables, { label: "Tables", rowAttributes: (table) => ({ "data-table": table.id }) });
}

function badge(found) {
  const worst = SEVERITIES.find((severity) => found.some((finding) => finding.severity === severity));
  return found.length ? el("span", { class: "badge " + worst }, counted(found.length, worst === "note" ? "note" : "finding")) : NOTHING;
}

function findingOf(finding, isOwn = false) {
  return el("div", { class: "finding " + finding.severity },
    el("p", {}, el("strong", { class: "severity" }, finding.severity), " ", isOwn ? null : [name(finding.place), ": "], finding.message),
    finding.examples.length ? el("p", { class: "examples" }, "For example ", finding.examples.map((text, i) => [i ? ", " : "", name(text)])) : null,
    finding.remedy ? el("p", { class: "remedy" }, "What to do: ", finding.remedy) : null);
}

function findingSection() {
  const ordered = SEVERITIES.flatMap((severity) => report.findings.filter((finding) => finding.severity === severity));
  const nothing = el("p", { class: "note" }, "Nothing was found to be wrong.");
  return section("findings", "Findings", el("div", { class: "card" }, ordered.length ? ordered.map((finding) => findingOf(finding)) : nothing));
}
