// Elements of the page. Text is always set as text; nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(visible(child)));
  }
  return element;
}

/** An element of HTML. */
function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An element of SVG. */
function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** The value under a path as text. It says where it comes from, so that the page can be held against the data. */
function shown(path, format = number) {
  return el("span", { "data-path": JSON.stringify(path), class: "value" }, format(at(path)));
}

/** A name of a table, an entity or a file: somebody else's text, kept from reordering what is around it. */
function name(text) {
  return el("bdi", { class: "name" }, text);
}

/** One figure: what it is, its value, and a remark. */
function figure(label, value, note) {
  return el("div", { class: "figure" }, el("dt", {}, label), el("dd", {}, value, note && el("small", {}, " ", note)));
}

/** Figures side by side; those that are null are left out. */
function figures(...list) {
  return el("dl", { class: "figures" }, list);
}

/** Shares as bars: {label, share, value}; the share's text stands beside its bar. */
function meters(rows) {
  return el("ul", { class: "meters" }, rows.map((row) => {
    const bar = el("span", { class: "bar" });
    bar.style.width = Math.min(100, Math.max(0, 100 * (num(row.share) || 0))) + "%";
    const text = el("span", { class: "meter-text" }, row.value, row.value ? " \u00b7 " : "", percent(row.share));
    return el("li", {}, el("span", { class: "meter-label" }, row.label), el("span", { class: "track" }, bar), text);
  }));
}

/** A part of the page with a heading that the navigation leads to. */
function section(id, title, ...children) {
  return el("section", { id, "aria-labelledby": id + "-title" }, el("h2", { id: id + "-title" }, title), children);
}

/** A block inside a card. */
function panel(title, note, ...children) {
  return el("section", { class: "panel" }, el("h4", {}, title), note && el("p", { class: "note" }, note), children);
}
