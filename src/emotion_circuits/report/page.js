"use strict";
// -- figures: drawn when the reader comes near, redrawn when light turns to dark --------------------------------------
const words = JSON.parse(document.getElementById("page-words").textContent);
const night = window.matchMedia("(prefers-color-scheme: dark)");
const font = getComputedStyle(document.body).fontFamily;
const looks = {
  false: { ink: "#1d2430", grid: "#e4e8ee", zero: "#b8bfca" },
  true: { ink: "#e7eaf0", grid: "#333c4a", zero: "#5a6475" },
};
// A diverging scale's middle is the paper's colour, so that "no effect" looks like nothing in light and in dark.
const diverging = {
  false: [[0, "#053061"], [0.125, "#2166ac"], [0.25, "#4393c3"], [0.375, "#92c5de"], [0.5, "#f7f7f7"], [0.625, "#f4a582"], [0.75, "#d6604d"], [0.875, "#b2182b"], [1, "#67001f"]],
  true: [[0, "#92c5de"], [0.2, "#4393c3"], [0.35, "#2a5f94"], [0.5, "#1d232d"], [0.65, "#94363a"], [0.8, "#d6604d"], [1, "#f9b795"]],
};
const isDiverging = scale => Array.isArray(scale) && JSON.stringify(scale) === JSON.stringify(diverging[false]);

function dressed(figure, dark) {
  const look = looks[dark], copy = JSON.parse(JSON.stringify(figure));
  const axis = { gridcolor: look.grid, zerolinecolor: look.zero, linecolor: look.zero, tickcolor: look.zero, automargin: true };
  copy.layout.template = { layout: {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: look.ink, family: font, size: 13 },
    xaxis: axis, yaxis: axis, hoverlabel: { font: { family: font } }, colorway: ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777"],
    modebar: { bgcolor: "rgba(0,0,0,0)", color: look.zero, activecolor: look.ink } } };
  if (dark) {
    for (const trace of copy.data) if (isDiverging(trace.colorscale)) trace.colorscale = diverging[true];
    for (const key of Object.keys(copy.layout)) if (key.startsWith("coloraxis") && isDiverging(copy.layout[key].colorscale)) copy.layout[key].colorscale = diverging[true];
    for (const trace of copy.data) if (trace.meta === "ink") { if (trace.line) trace.line.color = look.ink; if (trace.marker) trace.marker.color = look.ink; }
  }
  return copy;
}
const sources = new Map();
for (const plot of document.querySelectorAll(".plot"))
  sources.set(plot, JSON.parse(document.getElementById(plot.id + "-data").textContent));
function draw(plot) {
  if (plot.dataset.drawn === "yes") return Promise.resolve();
  plot.dataset.drawn = "yes";
  const figure = dressed(sources.get(plot), night.matches);
  return Plotly.react(plot, figure.data, figure.layout, { responsive: true, displaylogo: false });
}
const near = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
}, { rootMargin: "500px" });
for (const plot of sources.keys()) near.observe(plot);
const drawAll = () => Promise.all([...sources.keys()].map(draw));
night.addEventListener("change", () => { for (const plot of sources.keys()) if (plot.dataset.drawn === "yes") { plot.dataset.drawn = ""; draw(plot); } });
window.addEventListener("beforeprint", () => { drawAll(); });

// One figure as a file's content: always light, whatever the reader's screen.
function pictureOf(id, format, scale) {
  const plot = document.getElementById(id), figure = dressed(sources.get(plot), false);
  const width = Math.max(760, parseInt(plot.style.minWidth || "0"));
  figure.layout.width = width; figure.layout.paper_bgcolor = "#ffffff";
  return Plotly.toImage(figure, { format, width, height: figure.layout.height, scale });
}
// For PDF: pictures shrink to the paper's width as a whole, labels included.
async function toPaper() {
  document.documentElement.classList.add("printing");
  for (const plot of sources.keys()) {
    const picture = new Image();
    picture.alt = plot.getAttribute("aria-label");
    picture.src = await pictureOf(plot.id, "svg", 1);
    await picture.decode();
    if (plot.dataset.drawn === "yes") Plotly.purge(plot);
    plot.dataset.drawn = "yes";
    plot.replaceChildren(picture);
  }
}

// -- tables: sort by a column's button, filter by words ---------------------------------------------------------------
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => { const cell = row.cells[column], v = cell.dataset.v; return v === undefined ? cell.textContent : v === "" ? NaN : parseFloat(v); };
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending", sign = down ? -1 : 1;
    const rows = [...body.rows].sort((a, b) => {
      const x = key(a, column), y = key(b, column), number = typeof x === "number" && typeof y === "number";
      if (number && (isNaN(x) || isNaN(y))) return isNaN(x) - isNaN(y);  // missing ones last, both ways
      return sign * (number ? x - y : String(x).localeCompare(String(y), document.documentElement.lang, { numeric: true }));
    });
    body.append(...rows);
    heads.forEach(h => h.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  }));
}
for (const filter of document.querySelectorAll("input.filter")) {
  const body = document.getElementById(filter.getAttribute("aria-controls")).tBodies[0], count = filter.closest(".tools").querySelector(".count");
  filter.addEventListener("input", () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) { const text = row.textContent.toLowerCase(); row.hidden = !wanted.every(w => text.includes(w)); shown += !row.hidden; }
    count.textContent = words.rows.replace("{shown}", shown).replace("{all}", body.rows.length);
  });
}
// A link into a folded part opens it.
function unfold() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
}
window.addEventListener("hashchange", unfold);
if (location.hash) unfold();
document.documentElement.dataset.ready = String(Math.round(performance.now()));
