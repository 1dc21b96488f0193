"use strict";
// What is known of a head, a layer, a token or a sentence: opened from a list, or by a click in a figure. Text is only ever text.
const shelf = document.getElementById("sheets-data").closest(".closer");
const sheets = new Map(JSON.parse(document.getElementById("sheets-data").textContent).map(sheet => [sheet.name, sheet]));
const made = (tag, text = "", attributes = {}) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.textContent = text;
  return element;
};
function grid([title, columns, rows]) {
  const table = made("table"), head = table.createTHead().insertRow(), body = table.createTBody();
  table.createCaption().textContent = title;
  for (const column of columns) head.append(made("th", column, { scope: "col" }));
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((cell, i) => line.append(made(i ? "td" : "th", cell, i ? {} : { scope: "row" })));
  }
  const wide = made("div", "", { className: "wide" });
  wide.append(table);
  return wide;
}
const dialog = shelf.querySelector("dialog"), known = shelf.querySelector(".known");
function look(name) {
  const sheet = sheets.get(name);
  dialog.querySelector("h3").textContent = sheet.title;
  known.replaceChildren(...sheet.tables.map(grid));
  const others = sheet.see.filter(other => sheets.has(other));
  if (others.length) {
    const line = made("p", words.see + " ", { className: "see" });
    for (const other of others) {
      const button = made("button", sheets.get(other).title, { type: "button" });
      button.addEventListener("click", () => look(other));
      line.append(button, " ");
    }
    known.append(line);
  }
  if (!dialog.open) dialog.showModal();
  known.scrollTop = 0;
}
dialog.addEventListener("click", event => { if (event.target === dialog) dialog.close(); });

const list = made("select"), label = made("label", words.pick + " ");
list.append(made("option", "–", { value: "" }));
const kinds = new Map();
for (const sheet of sheets.values()) {
  if (!kinds.has(sheet.kind)) kinds.set(sheet.kind, list.appendChild(made("optgroup", "", { label: sheet.kind })));
  kinds.get(sheet.kind).append(made("option", sheet.title, { value: sheet.name }));
}
list.addEventListener("change", () => { if (list.value) look(list.value); });
dialog.addEventListener("close", () => { list.value = ""; });
label.append(list);
shelf.querySelector(".tools").append(label);

// A mark names its sheet by where it stands or by what is written at it: "L3H2", "L3H2: +0.02", or several names.
function named(plot, point) {
  const value = plot.dataset.sheet.replace(/{(\w+)}/g, (_, key) => point[key] ?? "");
  return [value, value.split(":")[0], value.split(" ")[0]].find(name => sheets.has(name));
}
for (const plot of document.querySelectorAll(".plot[data-sheet]")) {
  plot.addEventListener("drawn", () => plot.on("plotly_click", event => {
    const name = named(plot, event.points[0]);
    if (name) look(name);
  }), { once: true });
}
