// Readings per token as colour: how far the state that wrote a token lies beyond the reader's threshold.

import { byId, el, number } from "./dom.js";
import { colour, nameOf } from "./tone.js";
import { say, telling, told, whenSpoken } from "./words.js";

const SCORES = new WeakMap(); // token's element -> its scores
const STRONGEST = "\n"; // no value is called so

let values = [];
let most = 0;

/** Prepare the choice of what colours; `offered` are the server's values. */
export function prepare(offered) {
  values = offered;
  const names = () => {
    const kept = byId("colour-by").value || STRONGEST;
    byId("colour-by").replaceChildren(
      el("option", { value: STRONGEST }, say("colour-strongest")), ...values.map((value) => el("option", { value: value.value }, nameOf(value)())));
    byId("colour-by").value = kept;
    paintAll();
  };
  byId("colour-by").addEventListener("change", paintAll);
  whenSpoken(names);
  names();
}

/** A piece of text with its reading, as an element. */
export function piece(text, scores) {
  const element = el("span", { class: "token" }, text);
  SCORES.set(element, scores);
  const top = Math.max(0, ...Object.values(scores).filter(Number.isFinite));
  if (top > most) {
    most = top; // one scale for all that is shown, so that two sides can be compared
    paintAll();
  }
  byId("legend").hidden = false;
  paint(element);
  return element;
}

function paint(element) {
  const scores = SCORES.get(element);
  const asked = byId("colour-by").value;
  const shown = asked === STRONGEST
    ? values.reduce((best, value) => ((scores[value.value] ?? -Infinity) > (scores[best?.value] ?? -Infinity) ? value : best), null)
    : values.find((value) => value.value === asked);
  const score = shown ? scores[shown.value] : null;
  const place = values.indexOf(shown);
  element.className = score > 0 ? `token read hue-${place % 6}` : "token";
  if (!(score > 0)) return;
  element.style.removeProperty("--hue");
  colour(element, shown);
  element.style.setProperty("--much", `${Math.round(10 + 50 * Math.min(1, score / most))}%`);
}

function paintAll() {
  for (const element of document.querySelectorAll(".token")) if (SCORES.has(element)) paint(element);
  const asked = byId("colour-by").value;
  const shown = asked === STRONGEST ? values : values.filter((value) => value.value === asked);
  byId("scale").replaceChildren(...shown.map((value) => {
    const bar = el("span", { class: `bar hue-${values.indexOf(value) % 6}` });
    colour(bar, value);
    return el("span", { class: "key" }, bar, ` ${nameOf(value)()} 0 – ${number(most)}`);
  }));
}

/** The same as a table, for whoever does not see colours. */
export function table(tokens) {
  const shown = values.filter((value) => tokens.some((token) => value.value in token.scores));
  return el("details", { class: "reading-table" }, telling("summary", "readings-table"),
    told(el("div", { class: "wide", tabindex: 0, role: "region" }, el("table", {},
      el("thead", {}, el("tr", {}, telling("th", "token", {}, { scope: "col" }), ...shown.map((value) => telling("th", "value-name", { value: nameOf(value) }, { scope: "col" })))),
      el("tbody", {}, ...tokens.map((token) => el("tr", {}, el("th", { scope: "row" }, token.token),
        ...shown.map((value) => el("td", {}, number(token.scores[value.value])))))))), "readings-table", {}, "aria-label"));
}
