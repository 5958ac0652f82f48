// Who holds what of the tables, and how even it is.

/** What each rank holds of one table: [{rank, rows, bytes, norm, pieces}], by rank. */
function holdings(table, inspected) {
  const isCopied = table.sharding === "data-parallel" && inspected;
  const held = isCopied ? inspected.ranks.map((rank) => ({ rank, num_rows: table.num_embeddings, num_bytes: table.num_bytes })) : table.ranks;
  return held.map((each) => ({
    rank: each.rank, rows: each.num_rows, bytes: each.num_bytes, norm: each.mean_norm === undefined ? null : each.mean_norm,
    pieces: table.shards.filter((shard) => shard.rank === each.rank),
  }));
}

/** The largest share over the mean one, over all ranks there are. */
function unevenness(held, worldSize) {
  const sizes = held.map((each) => each.bytes);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return total ? Math.max(...sizes) / (total / Math.max(worldSize, sizes.length)) : null;
}

/** One table over ranks: a map of its pieces, and what each rank has. */
function shardPanel(table, inspected) {
  const held = holdings(table, inspected);
  if (!held.length) return null;
  const spread = table.sharding.replace("-", " ");
  const note = held.length === 1 ? "All of it is on rank " + held[0].rank + "." : "Spread " + spread + " over " + held.length + " ranks.";
  return panel("Shards", note, held.length > 1 || table.shards.length > 1 ? [
    figures(
      figure("pieces", number(table.shards.length)),
      figure("largest over mean", number(unevenness(held, held.length)), "1 is even"),
    ),
    el("div", { class: "plots" }, shardMap(table), rankChart(held, "Bytes by rank", table.name)),
  ] : null);
}

/** The table as a rectangle, cut as its pieces cut it: rows downwards, columns to the right. */
function shardMap(table) {
  const [rows, columns] = [table.num_embeddings || 1, table.embedding_dim || 1];
  const ranks = [...new Set(table.shards.map((shard) => shard.rank))];
  const tiles = table.shards.filter((shard) => shard.sizes[0] && shard.sizes[1]).map((shard) => {
    const [y, x] = [shard.offsets[0] / rows, shard.offsets[1] / columns];
    const [height, width] = [shard.sizes[0] / rows, shard.sizes[1] / columns];
    const box = { x: 100 * x + "%", y: 100 * y + "%", width: 100 * width + "%", height: 100 * height + "%" };
    const text = "rank " + shard.rank + ": rows " + number(shard.offsets[0]) + " to " + number(shard.offsets[0] + shard.sizes[0])
      + ", columns " + number(shard.offsets[1]) + " to " + number(shard.offsets[1] + shard.sizes[1]) + ", mean norm " + number(shard.mean_norm);
    const fits = height > 0.1 && width > 0.16;
    return svg("g", {}, svg("title", {}, text + "\n" + visible(shard.location)),
      svg("rect", { ...box, class: "tile tile-" + (ranks.indexOf(shard.rank) % 4) }),
      fits && svg("text", { class: "tile-label", x: box.x, y: box.y, dx: 8, dy: 15 }, "rank " + shard.rank));
  });
  return el("figure", { class: "plot" },
    el("figcaption", {}, el("span", { class: "title" }, "Map")),
    el("p", { class: "note" }, "Rows downwards, columns to the right; each tile is one piece."),
    svg("svg", { class: "map", role: "img",
      "aria-label": "Map of " + table.shards.length + " pieces on " + ranks.length + " ranks" }, tiles));
}

function rankChart(held, title, what) {
  const last = Math.max(...held.map((each) => each.rank));
  return chartOf({
    title,
    x: { label: "rank", domain: [-0.5, last + 0.5], whole: true },
    y: { bytes: true, format: (tick) => bytes(tick).replace(".0 ", " ") },
    layers: [{ kind: "bars", style: "now", bars: held.map((each) => [each.rank - 0.5, each.rank + 0.5, each.bytes]) }],
    stops: held.map((each) => ({
      x: each.rank,
      lines: [
        "rank " + each.rank + ": " + bytes(each.bytes), counted(each.rows, "row"),
        each.norm === null ? null : "mean norm " + number(each.norm), each.detail || null,
      ].filter(Boolean),
    })),
    numbers: () => list([
      { label: "rank", numeric: true, cell: (each) => number(each.rank), sort: (each) => each.rank },
      { label: "rows", numeric: true, cell: (each) => number(each.rows), sort: (each) => each.rows },
      { label: "bytes", numeric: true, cell: (each) => number(each.bytes), sort: (each) => each.bytes },
      { label: "mean norm", numeric: true, cell: (each) => number(each.norm), sort: (each) => num(each.norm) },
    ], held, { limit: 64, label: "Ranks of " + what }),
  });
}

/** All tables over all ranks; null where there is one rank alone. */
function shardSection(tables) {
  const worldSize = report.inspection ? report.inspection.world_size : 0;
  const byRank = new Map();
  for (const table of tables) {
    if (!table.stats) continue;
    for (const each of holdings(table.stats, table.inspected)) {
      const sum = byRank.get(each.rank) || { rank: each.rank, rows: 0, bytes: 0, norm: null, names: [] };
      sum.rows += each.rows;
      sum.bytes += each.bytes;
      sum.names.push([each.bytes, table.name]);
      byRank.set(each.rank, sum);
    }
  }
  for (let rank = 0; rank < worldSize; rank += 1) {
    if (!byRank.has(rank)) byRank.set(rank, { rank, rows: 0, bytes: 0, norm: null, names: [] });
  }
  const held = [...byRank.values()].sort((a, b) => a.rank - b.rank);
  if (held.length < 2 || !tables.some((table) => table.stats && table.stats.ranks.length)) return null;
  for (const each of held) {
    const largest = each.names.sort((a, b) => b[0] - a[0]).slice(0, 3).map(([, text]) => visible(text));
    each.detail = largest.length ? "most: " + largest.join(", ") : "nothing";
  }
  const uneven = unevenness(held, worldSize);
  return section("shards", "Shards", el("div", { class: "card" },
    el("p", { class: "note" }, "Bytes of weights by rank, over all tables. The largest rank is what a training step waits for."),
    figures(figure("ranks", number(held.length)), figure("largest over mean", number(uneven), "1 is even"),
      figure("ranks with nothing", number(held.filter((each) => !each.bytes).length))),
    rankChart(held, "Weights by rank", "all tables")));
}
