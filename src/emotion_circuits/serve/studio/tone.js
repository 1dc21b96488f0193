// Sliders: a dose per value, within what the run validated unless the reader says otherwise.

import { byId, el, number } from "./dom.js";
import { costOf, curveOf, effectOf, nearest } from "./curve.js";
import { language, say, telling, told, whenSpoken } from "./words.js";

const BEYOND = 2; // either way; the server refuses doses beyond its own `allowed`
const STEP = 0.05;

/** What a value is called in the language of the page. */
export const nameOf = (value) => () => value.names[language()] ?? value.value;

export class Tone {
  /** `offer` is the answer of /v1/steering; `changed` is called after every change. */
  constructor(offer, changed) {
    this.offer = offer;
    this.changed = changed;
    this.doses = new Map();
    this.rows = [];
    byId("beyond").addEventListener("change", () => this.widen());
    byId("zero").addEventListener("click", () => this.set(new Map()));
    whenSpoken(() => this.rows.forEach((row) => row.show()));
    this.draw();
  }

  get beyond() {
    return byId("beyond").checked;
  }

  get range() {
    const [low, high] = this.offer.allowed;
    return this.beyond ? [Math.max(low, -BEYOND), Math.min(high, BEYOND)] : [0, 1];
  }

  /** The body's `steering`: doses that are not 0. */
  steering() {
    return Object.fromEntries([...this.doses].filter(([, dose]) => dose !== 0));
  }

  /** Take doses; those of values that this run cannot dose are left out and returned. */
  set(doses) {
    const known = new Set(this.offer.values.filter((value) => value.validated).map((value) => value.value));
    const left = [...doses.keys()].filter((value) => !known.has(value) || !Number.isFinite(doses.get(value)));
    if ([...doses].some(([value, dose]) => known.has(value) && (dose < 0 || dose > 1)) && !this.beyond) {
      byId("beyond").checked = true;
    }
    this.doses = new Map([...doses].filter(([value]) => !left.includes(value)));
    this.draw();
    this.changed();
    return left;
  }

  widen() {
    const [low, high] = this.range;
    for (const [value, dose] of this.doses) this.doses.set(value, Math.min(Math.max(dose, low), high));
    this.draw();
    this.changed();
  }

  draw() {
    byId("beyond-warning").hidden = !this.beyond;
    this.rows = this.offer.values.map((value, place) => (value.validated ? this.row(value, place) : without(value, place, value.bound)));
    byId("values").replaceChildren(...this.rows.map((row) => row.element));
    this.rows.forEach((row) => row.show());
  }

  row(value, place) {
    const [min, max] = this.range;
    const about = el("p", { class: "soft", id: `about-${place}` });
    const outside = telling("p", "outside", {}, { class: "warn", hidden: true });
    const slider = el("input", { type: "range", min, max, step: STEP, "aria-describedby": `about-${place}`, on: { input: () => take(slider) } });
    const figure = el("input", { type: "number", min, max, step: STEP, required: true, on: { change: () => take(figure) } });
    const own = telling("button", "own-dose", { dose: number(value.chosen) }, { type: "button", on: { click: () => take({ valueAsNumber: value.chosen }) } });
    const curve = value.curve.length ? curveOf(value, value.bound, this.range, nameOf(value)) : null;
    told(slider, "dose-of", { value: nameOf(value) }, "aria-label");
    told(figure, "dose-figure", { value: nameOf(value) }, "aria-label");
    const show = () => {
      const dose = this.doses.get(value.value) ?? 0;
      slider.value = figure.value = dose;
      slider.setAttribute("aria-valuetext", say("dose", { dose: number(dose) }));
      curve?.move(dose);
      outside.hidden = dose >= 0 && dose <= 1;
      about.textContent = expected(value, dose);
    };
    const take = (input) => {
      const given = input.valueAsNumber;
      this.doses.set(value.value, Number.isFinite(given) ? Math.min(Math.max(given, min), max) : 0);
      show();
      this.changed();
    };
    const element = el("fieldset", { class: `value hue-${place % 6}` },
      telling("legend", "value-name", { value: nameOf(value) }),
      el("div", { class: "dose" }, slider, figure), ...(curve ? [curve.drawing] : []), about, outside, el("div", { class: "buttons" }, own));
    colour(element, value);
    return { element, show };
  }
}

/** What the run measured nearest to a dose. */
function expected(value, dose) {
  if (dose === 0) return say("dose-zero");
  const point = value.curve.length ? nearest(value.curve, dose) : null;
  if (!point) return say("curve-none");
  const said = say("curve-nearest", { dose: number(point.dose), effect: effectOf(point), cost: costOf(point), n: point.n });
  return point.as_dosed ? said : `${said}${say("gap")}${say("curve-first", { first: number(point.first) })}`;
}

/** A value that has vectors and no validated range. */
function without(value, place, bound) {
  const element = el("fieldset", { class: `value hue-${place % 6}`, disabled: true },
    telling("legend", "value-name", { value: nameOf(value) }), telling("p", "no-range", { bound: String(bound) }, { class: "soft" }));
  colour(element, value);
  return { element, show() {} };
}

/** An attribute's own colour, where it has one; the style sheet has others by place. */
export function colour(element, value) {
  if (/^#[0-9a-fA-F]{6}$/.test(value.colour ?? "")) element.style.setProperty("--hue", value.colour);
}
