// The page as a whole.

const THEMES = ["auto", "light", "dark"];

function masthead(sections) {
  const subject = report.inspection ? report.inspection.uri : report.stats ? report.stats.uri : report.warmstart ? report.warmstart.destination : report.source;
  const made = [report.tool, report.created.replace("T", " ").replace(/\+00:00$/, " UTC")];
  const walltime = report.stats && report.stats.walltime !== null ? "trained for " + number(report.stats.walltime) + " s" : null;
  return [
    el("nav", { "aria-label": "Sections" }, el("a", { class: "brand", href: "#top" }, "embsnap"),
      el("span", { class: "links" }, sections.map((each) => el("a", { href: "#" + each.id }, each.querySelector("h2").textContent))), themes()),
    el("header", { class: "top", id: "top" }, el("p", { class: "kind" }, report.run ? "Run" : report.inspection ? "Snapshot" : report.warmstart ? "Warm start" : "Report"),
      el("h1", {}, name(subject === null || subject === undefined ? report.source : subject)),
      el("p", { class: "facts" }, [report.run ? el("span", {}, "newest step of ", name(report.run.uri)) : null,
        walltime && el("span", {}, walltime), made.map((text) => el("span", {}, text))])),
  ];
}

/** Follows the system's colours until it is told otherwise. */
function themes() {
  const button = el("button", { type: "button", class: "theme" });
  const set = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = "Theme: " + theme;
    button.dataset.theme = theme;
  };
  button.addEventListener("click", () => set(THEMES[(THEMES.indexOf(button.dataset.theme) + 1) % THEMES.length]));
  set("auto");
  return button;
}

function build() {
  const tables = tablesOf();
  const owned = new Set(tables.flatMap((table) => table.coverage));
  const free = report.coverage.map((_, i) => i).filter((i) => !owned.has(i));
  const cards = tables.filter((table) => table.stats || table.diff || table.coverage.length || table.warmstart || table.inspected || report.history);
  const sections = [
    overview(tables), findingSection(), historySection(), warmstartSection(), coverageSection(free), shardSection(tables),
    cards.length ? section("tables", "Tables", cards.map(cardOf)) : null,
  ].filter(Boolean);
  const main = el("main", {}, sections);
  document.body.append(...masthead(sections), main);
  document.addEventListener("keydown", (event) => {
    const box = document.getElementById("search");
    if (event.key !== "/" || !box || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    event.preventDefault();
    box.focus();
  });
}

build();
document.documentElement.dataset.ready = "true";
