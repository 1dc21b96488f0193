// What the page says, in the reader's language. Sentences come from the server's catalogues; English is theirs too.

import { el } from "./dom.js";

const PLACES = new WeakMap(); // element -> attribute or "text" -> what fills the places of its sentence
const KINDS = { text: "say", "aria-label": "sayLabel" };
const again = [];
let words = {};
let code = "en";

export const language = () => code;

/** A sentence, its {places} filled; what fills one may be a function, so that it is asked anew in another language. */
export function say(key, places = {}) {
  return (words[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => {
    const value = Object.hasOwn(places, name) ? places[name] : whole;
    return typeof value === "function" ? value() : value;
  });
}

/** An element's text (or aria-label) from now on, in whichever language is spoken. */
export function told(element, key, places = {}, as = "text") {
  element.dataset[KINDS[as]] = key;
  if (!PLACES.has(element)) PLACES.set(element, {});
  PLACES.get(element)[as] = places;
  utter(element);
  return element;
}

export const telling = (tag, key, places = {}, attributes = {}) => told(el(tag, attributes), key, places);

function utter(element) {
  const places = PLACES.get(element) ?? {};
  const { say: text, sayLabel: label } = element.dataset;
  if (text) element.textContent = say(text, places.text);
  if (label) element.setAttribute("aria-label", say(label, places["aria-label"]));
}

/** What else is to be done when the language changes. */
export const whenSpoken = (act) => again.push(act);

/** Speak a language, or English where there is no such one; returns the codes of all there are. */
export async function speak(wanted) {
  const found = await (await fetch(`studio/words/${encodeURIComponent(wanted)}`)).json();
  words = found.words;
  code = found.language;
  document.documentElement.lang = code.replace("_", "-");
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-say], [data-say-label]")) utter(element);
  for (const act of again) act();
  return found.languages;
}
