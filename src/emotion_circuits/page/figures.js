"use strict";
// Figures: drawn when the reader comes near, redrawn when light turns to dark. The library that draws them is five megabytes of
// script; it is compiled for the first figure, so that the page can be read and used before.
const library = () => {
  if (!window.Plotly) {
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  }
  return window.Plotly;
};
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
  // Pale cells let the paper through, so that their figures need its ink.
  for (const trace of copy.data) if (trace.type === "heatmap" && trace.texttemplate && trace.opacity < 1) trace.textfont = { color: look.ink };
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
  return library().react(plot, figure.data, figure.layout, { responsive: true, displaylogo: false })
    .then(() => plot.dispatchEvent(new Event("drawn")));
}
const near = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) { near.unobserve(entry.target); draw(entry.target); }
}, { rootMargin: "500px" });
for (const plot of sources.keys()) near.observe(plot);
const drawAll = () => Promise.all([...sources.keys()].map(draw));
night.addEventListener("change", () => { for (const plot of sources.keys()) if (plot.dataset.drawn === "yes") { plot.dataset.drawn = ""; draw(plot); } });
window.addEventListener("beforeprint", () => { drawAll(); });

// One figure as a file's content: always light, whatever the reader's screen.
function pictureOf(id, format, scale, least = 760) {
  const plot = document.getElementById(id), figure = dressed(sources.get(plot), false);
  const width = Math.max(least, parseInt(plot.style.minWidth || "0"));
  figure.layout.width = width; figure.layout.paper_bgcolor = "#ffffff";
  return library().toImage(figure, { format, width, height: figure.layout.height, scale });
}
// For PDF: pictures shrink to the paper's width as a whole, labels included.
async function toPaper() {
  document.documentElement.classList.add("printing");
  for (const claims of document.querySelectorAll("details.claims")) claims.open = true;
  for (const plot of sources.keys()) {
    const picture = new Image();
    picture.alt = plot.getAttribute("aria-label");
    picture.src = await pictureOf(plot.id, "svg", 1, 1040);
    await picture.decode();
    if (plot.dataset.drawn === "yes") library().purge(plot);
    plot.dataset.drawn = "yes";
    plot.replaceChildren(picture);
  }
}
