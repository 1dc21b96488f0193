// What the server says it did to a text, and what the run lets one expect of it.

import { el, interval, number } from "./dom.js";
import { nameOf } from "./tone.js";
import { say, telling } from "./words.js";

const METRICS = ["share", "probability", "words", "vader"];

/** The proof of action under a steered answer; `told` is the answer's `steering`, `values` what the server offers. */
export function proof(told, values) {
  const known = (name) => values.find((value) => value.value === name) ?? { value: name, names: {} };
  const touched = told.choices[0]?.touched ?? [];
  if (!told.values.length) return el("div", { class: "proof" }, telling("p", "not-steered", {}, { class: "soft" }));
  return el("div", { class: "proof" },
    telling("h5", touched.length ? "acted" : "not-acted"),
    el("ul", {}, ...touched.flatMap((one) => acted(one, nameOf(known(one.value)))),
      ...(told.template_tokens_left_out === null ? [] : [telling("li", "left-out", { n: told.template_tokens_left_out })])),
    telling("h5", "expected"),
    el("ul", {}, ...told.values.flatMap((one) => expected(one, nameOf(known(one.value)), (_, place) => place === 0))),
    ...others(told, known),
    ...warnings(told, known));
}

function acted(one, value) {
  const found = [telling("li", "acted-on", {
    value, layer: one.layer, n: one.tokens, before: number(one.projection_before), after: number(one.projection_after),
  })];
  if (one.first_token) {
    const { projection_before: before, projection_after: after } = one.first_token;
    found.push(telling("li", "acted-first", { value, layer: one.layer, before: number(before), after: number(after) }));
  }
  return found;
}

/** Effects of the metrics that are `shown`, in the order of METRICS; with the first of them what it costs. */
function expected(one, value, shown) {
  if (!one.measured) return [telling("li", "expected-none", { value })];
  const { effects, cost, dose } = one.measured;
  const rank = (metric) => (METRICS.includes(metric) ? METRICS.indexOf(metric) : METRICS.length);
  const found = Object.entries(effects).sort(([a], [b]) => rank(a) - rank(b)).filter(shown).map(([metric, e]) => telling("li", "expected-effect", {
    value, dose: number(dose), metric: () => (METRICS.includes(metric) ? say(`metric-${metric}`) : metric),
    change: interval(e.change, e.low, e.high), wrong: number(e.wrong_way), n: e.n,
  }));
  if (shown(null, 0) && Number.isFinite(cost?.perplexity_ratio)) {
    found.push(telling("li", "expected-cost", { value, cost: interval(cost.perplexity_ratio, cost.low, cost.high) }));
  }
  return found;
}

function others(told, known) {
  const rows = told.values.filter((one) => one.measured).flatMap((one) => expected(one, nameOf(known(one.value)), (_, place) => place > 0));
  return rows.length ? [el("details", {}, telling("summary", "other-metrics"), el("ul", {}, ...rows))] : [];
}

function warnings(told, known) {
  // In the language that was asked for when the text was written.
  const all = told.values.flatMap((one) => one.warnings.map((text) => el("li", {}, telling("span", "value-name", { value: nameOf(known(one.value)) }), `: ${text}`)));
  return all.length ? [telling("h5", "warnings"), el("ul", { class: "warn" }, ...all)] : [];
}
