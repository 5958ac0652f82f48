// Where the rows of a warm start come from.

const ROW_KINDS = [["carried", "carried"], ["new", "new"], ["unoccupied", "without an entity"], ["reserved", "reserved"]];

function warmstartPanel(path) {
  const table = at(path);
  const source = table.source_uri === null ? "Nothing is carried" : el("span", {}, "From ", name(table.source_table), " of ", name(table.source_uri), " by " + table.alignment);
  return panel("Warm start", el("span", {}, source, "; other rows: ", name(table.initializer), "."), [
    figures(
      figure("coverage", shown([...path, "coverage"], percent)),
      figure("by count", shown([...path, "weighted_coverage"], percent)),
      figure("dropped", shown([...path, "counts", "dropped"])),
      figure("size", shown([...path, "num_bytes"], bytes), "with optimizer state"),
      table.mean_norm === null ? null : figure("mean norm", shown([...path, "mean_norm"])),
      table.num_unchecked_rows ? figure("read unchecked", shown([...path, "num_unchecked_rows"]), "rows") : null,
    ),
    meters(ROW_KINDS.map(([key, label]) => ({
      label, value: shown([...path, "counts", key]), share: table.num_embeddings ? table.counts[key] / table.num_embeddings : null,
    }))),
    table.optimizer_state.length ? el("p", { class: "note" }, "Optimizer state: ", table.optimizer_state.map((each, i) => [i ? ", " : "", name(each)])) : null,
  ]);
}

function warmstartSection() {
  const found = report.warmstart;
  if (!found) return null;
  const path = ["warmstart"];
  const tables = found.tables.map((table, i) => ({ ...table, path: [...path, "tables", i] }));
  const count = (key, label) => ({
    label, numeric: true, cell: (table) => shown([...table.path, "counts", key]), sort: (table) => table.counts[key],
  });
  return section("warmstart", found.applied ? "Warm start" : "Warm start, planned", el("div", { class: "card" },
    el("p", { class: "note" }, found.applied ? "Written to " : "A dry run", found.destination === null ? "" : name(found.destination), "."),
    figures(
      figure("to write", shown([...path, "num_bytes_to_write"], bytes)),
      figure("to read", shown([...path, "num_bytes_to_read"], bytes)),
      figure("peak memory", shown([...path, "peak_memory_bytes"], bytes)),
      figure("seconds", shown([...path, "seconds"])),
    ),
    list([
      { label: "table", cell: (table) => name(table.name), sort: (table) => table.name },
      { label: "coverage", numeric: true, cell: (table) => shown([...table.path, "coverage"], percent), sort: (table) => num(table.coverage) },
      count("carried", "carried"), count("new", "new"), count("dropped", "dropped"), count("unoccupied", "unoccupied"),
      { label: "by", cell: (table) => table.alignment, sort: (table) => table.alignment },
    ], tables, { label: "Tables of the warm start" })));
}
