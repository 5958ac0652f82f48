// Tables that can be sorted. On narrow screens each row becomes a block of labelled values.

/** Sorts missing values last, numbers as numbers, and everything else as text. */
function compared(a, b) {
  const missing = [a, b].map((value) => value === null || value === undefined || Number.isNaN(value));
  if (missing[0] || missing[1]) return missing[0] - missing[1];
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

/**
 * A table of `rows`.
 *
 * columns: {label, cell: (row) => text or element, sort: (row) => value, numeric}; without `sort` it cannot be sorted by.
 * options: {label, limit, narrow, rowAttributes: (row) => attributes}
 */
function list(columns, rows, options = {}) {
  const body = el("tbody", {});
  const table = el("table", { class: "list", "aria-label": options.label }, el("thead", {}, el("tr", {})), body);
  const state = { column: null, descending: false, limit: options.limit || Infinity, rows };
  const more = el("button", { type: "button", class: "more", onclick: () => { state.limit = Infinity; fill(); } });

  function fill() {
    const { column, descending } = state;
    const ordered = [...state.rows];
    if (column) {
      const sign = descending ? -1 : 1;
      ordered.sort((a, b) => {
        const [left, right] = [column.sort(a), column.sort(b)];
        const lacking = [left, right].some((value) => value === null || value === undefined || Number.isNaN(value));
        return (lacking ? 1 : sign) * compared(left, right);
      });
    }
    body.replaceChildren(...ordered.slice(0, state.limit).map(row));
    more.hidden = ordered.length <= state.limit;
    more.textContent = "Show all " + number(ordered.length);
    for (const [i, header] of [...table.querySelectorAll("th[scope=col]")].entries()) {
      const sorted = columns[i] === column ? (descending ? "descending" : "ascending") : null;
      if (columns[i].sort) header.setAttribute("aria-sort", sorted || "none");
    }
  }

  function row(value) {
    const cells = columns.map((column, i) => {
      const attributes = { "data-label": column.label, class: column.numeric ? "numeric" : null };
      return i ? el("td", attributes, column.cell(value)) : el("th", { scope: "row", class: attributes.class }, column.cell(value));
    });
    return el("tr", options.rowAttributes ? options.rowAttributes(value) : {}, cells);
  }

  function sortBy(column) {
    state.descending = state.column === column ? !state.descending : Boolean(column.numeric);
    state.column = column;
    fill();
  }

  table.tHead.rows[0].append(...columns.map((column) => el(
    "th", { scope: "col", class: column.numeric ? "numeric" : null },
    column.sort ? el("button", { type: "button", onclick: () => sortBy(column) }, column.label) : column.label,
  )));
  fill();
  return el("div", { class: "list-frame" + (options.narrow ? " narrow" : "") }, table, more);
}
