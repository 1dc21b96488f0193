// Presets, preferences and history: kept in this browser, handed out as files, sent nowhere.

import { byId, el, save } from "./dom.js";
import { csv } from "./exporting.js";
import { keep, list } from "./store.js";
import { say, telling, told, whenSpoken } from "./words.js";

const COLUMNS = ["at", "model", "run", "mode", "prompt", "turns", "steering", "options", "base", "steered", "blind", "shown_first", "preferred"];
const MOST = 100;

/** Add a row to a list; older ones go beyond the bound, or where the browser has no more room. */
function add(what, row) {
  keep(what, [...list(what), row].slice(-MOST * (what === "preferences" ? 100 : 1)));
}

const doses = (row) => new Map(Object.entries(row.steering ?? {}).map(([name, dose]) => [name, Number(dose)]));

export class Kept {
  /** `own` are the run's presets, `[name, doses]`; `tone` takes doses; `again` takes a row of the history. */
  constructor(own, tone, again) {
    Object.assign(this, { own, tone, again });
    byId("preset-form").addEventListener("submit", (event) => this.keepPreset(event));
    byId("preset-use").addEventListener("click", () => this.usePreset());
    byId("preset-drop").addEventListener("click", () => this.dropPreset());
    byId("preset").addEventListener("change", () => this.presetButtons());
    byId("preferences-json").addEventListener("click", () => save("preferences.json", json(list("preferences")), "application/json"));
    byId("preferences-csv").addEventListener("click", () => save("preferences.csv", csv(list("preferences"), COLUMNS), "text/csv"));
    byId("history-json").addEventListener("click", () => save("history.json", json(list("history")), "application/json"));
    for (const what of ["preferences", "history"]) {
      byId(`${what}-drop`).addEventListener("click", () => {
        if (confirm(say(`delete-${what}`))) keep(what, []);
        this.draw();
      });
    }
    whenSpoken(() => this.draw());
    this.draw();
  }

  /** A round that is over. */
  take(record) {
    add("history", record);
    if (record.preferred) add("preferences", record);
    this.draw();
  }

  draw(chosen = byId("preset").value) {
    const presets = list("presets").filter((row) => typeof row.name === "string");
    const choices = [...this.own.map(([name, , place]) => [`own ${place}`, name()]), ...presets.map((row) => [`kept ${row.name}`, row.name])];
    byId("preset").replaceChildren(...choices.map(([value, name]) => el("option", { value }, name)));
    if (choices.some(([value]) => value === chosen)) byId("preset").value = chosen;
    this.presetButtons();
    const given = list("preferences");
    const count = (kind) => given.filter((row) => row.preferred === kind).length;
    told(byId("tally"), "tally", { n: given.length, steered: count("steered"), base: count("base"), tie: count("tie") });
    const rows = list("history").reverse();
    byId("history").replaceChildren(...rows.map((row) => this.earlier(row)));
    for (const id of ["preferences-json", "preferences-csv", "preferences-drop"]) byId(id).disabled = !given.length;
    for (const id of ["history-json", "history-drop"]) byId(id).disabled = !rows.length;
  }

  earlier(row) {
    const text = (value) => String(value ?? "");
    const steering = Object.entries(row.steering ?? {}).map(([name, dose]) => `${name} ${dose}`).join(", ");
    return el("li", {}, el("details", {},
      el("summary", {}, el("time", { datetime: text(row.at) }, text(row.at).slice(0, 16).replace("T", " ")), ` ${text(row.prompt).slice(0, 80)}`, ...(steering ? [" · ", steering] : [])),
      telling("h5", "side-base"), el("p", { class: "text" }, text(row.base)), telling("h5", "side-steered"), el("p", { class: "text" }, text(row.steered)),
      telling("button", "again", {}, { type: "button", on: { click: () => this.again(row) } })));
  }

  presetButtons() {
    byId("preset-use").disabled = !byId("preset").value;
    byId("preset-drop").disabled = !byId("preset").value.startsWith("kept ");
  }

  keepPreset(event) {
    event.preventDefault();
    const name = byId("preset-name").value.trim();
    if (!name) return;
    keep("presets", [...list("presets").filter((row) => row.name !== name), { name, steering: this.tone.steering() }]);
    byId("preset-name").value = "";
    this.draw(`kept ${name}`);
    byId("preset-status").textContent = say("preset-kept", { name });
  }

  usePreset() {
    const chosen = byId("preset").value;
    const own = this.own.find(([, , place]) => chosen === `own ${place}`);
    const left = this.tone.set(own ? own[1] : doses(list("presets").find((row) => `kept ${row.name}` === chosen) ?? {}));
    byId("preset-status").textContent = left.length ? say("preset-left", { values: left.join(", ") }) : say("preset-used");
  }

  dropPreset() {
    keep("presets", list("presets").filter((row) => `kept ${row.name}` !== byId("preset").value));
    this.draw();
  }
}

const json = (rows) => `${JSON.stringify(rows, null, 2)}\n`;
export { doses };
