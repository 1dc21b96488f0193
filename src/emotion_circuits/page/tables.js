"use strict";
const words = JSON.parse(document.getElementById("page-words").textContent);
// Tables: sort by a column's button, filter by words.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  // Numbers are sorted by what is shown: a true minus sign is read as one, a dash is no number.
  const key = (row, column) => { const cell = row.cells[column], text = cell.textContent; return cell.className === "n" ? parseFloat(text.replace("−", "-")) : text; };
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
  const tools = filter.closest(".tools"), body = document.getElementById(filter.getAttribute("aria-controls")).tBodies[0];
  const count = tools.querySelector(".count"), choices = [...tools.querySelectorAll("select.choice")];
  const sift = () => {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      const picked = choices.every(c => !c.value || row.cells[c.dataset.column].textContent === c.value);
      row.hidden = !(picked && wanted.every(w => text.includes(w)));
      shown += !row.hidden;
    }
    count.textContent = words.rows.replace("{shown}", shown).replace("{all}", body.rows.length);
  };
  for (const control of [filter, ...choices]) control.addEventListener("input", sift);
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
