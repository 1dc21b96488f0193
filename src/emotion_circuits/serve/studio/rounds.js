// One request, two answers beside one another: as the model writes, and steered; both stream at once.

import { Problem, streamed } from "./api.js";
import { byId, el } from "./dom.js";
import { bodyOf } from "./exporting.js";
import { proof } from "./proof.js";
import { piece, table } from "./readings.js";
import { nameOf } from "./tone.js";
import { telling, told } from "./words.js";

const PATH = { chat: "v1/chat/completions", continue: "v1/completions" };
export const KINDS = ["base", "steered"];

/** Which side stands first: of a blind round a coin decides, of any other the model's own. */
function order(blind) {
  return blind && crypto.getRandomValues(new Uint8Array(1))[0] % 2 ? ["steered", "base"] : ["base", "steered"];
}

/** Draws a round and writes its answers; `decided` is called with the round's record once it may be kept. */
export class Round {
  constructor(number, setting, offer, decided) {
    Object.assign(this, { setting, offer, decided });
    this.order = order(setting.blind);
    this.hidden = setting.blind;
    this.sides = Object.fromEntries(KINDS.map((kind) => [kind, { text: "", tokens: [], steering: null, error: null }]));
    for (const [place, kind] of this.order.entries()) this.draw(kind, "AB"[place]);
    this.verdict = el("div", { class: "verdict buttons", role: "group", hidden: true });
    told(this.verdict, "verdict", {}, "aria-label");
    for (const [key, place] of [["better-a", 0], ["better-b", 1], ["better-none", null]]) {
      const kind = place === null ? "tie" : this.order[place];
      this.verdict.append(telling("button", key, {}, { type: "button", on: { click: () => this.prefer(kind) } }));
    }
    const doses = Object.entries(setting.steering).map(([name, dose]) => {
      const value = offer.values.find((each) => each.value === name);
      return telling("span", "value-dose", { value: nameOf(value), dose: String(dose).replace("-", "−") }, { class: "chip" });
    });
    const head = telling("h3", setting.mode === "chat" ? "round-chat" : "round-continue", { n: number }, { id: `round-${number}` });
    this.element = el("article", { class: "round card", "aria-labelledby": `round-${number}` }, head,
      el("p", { class: "doses" }, ...doses), el("p", { class: "prompt" }, setting.prompt),
      el("div", { class: "pair" }, ...this.order.map((kind) => this.sides[kind].element)), this.verdict);
  }

  draw(kind, letter) {
    const side = this.sides[kind];
    side.letter = letter;
    side.title = el("h4");
    side.shown = el("div", { class: "text", "aria-live": "polite", "aria-busy": "true" });
    side.foot = el("div", {});
    side.element = el("section", { class: "side" }, side.title, side.shown, side.foot);
    this.name(kind);
  }

  name(kind) {
    const { title, shown, element, letter } = this.sides[kind];
    const key = this.hidden ? "side-hidden" : `side-${kind}`;
    told(title, key, { letter });
    told(shown, key, { letter }, "aria-label");
    shown.setAttribute("role", "group");
    element.classList.toggle("steered", !this.hidden && kind === "steered");
  }

  /** Write both; resolves when both have ended, however. */
  async write(signal) {
    await Promise.all(KINDS.map((kind) => this.stream(kind, signal)));
    if (this.hidden && KINDS.every((kind) => !this.sides[kind].error)) this.verdict.hidden = false;
    else this.reveal();
    return KINDS.every((kind) => !this.sides[kind].error);
  }

  async stream(kind, signal) {
    const side = this.sides[kind];
    const body = bodyOf({ ...this.setting, messages: this.setting.messages?.[kind] }, kind === "steered" ? this.setting.steering : {});
    try {
      for await (const chunk of streamed(PATH[this.setting.mode], body, signal)) {
        if (chunk.steering) side.steering = chunk.steering;
        for (const choice of chunk.choices) this.add(side, choice.text ?? choice.delta?.content ?? "", choice.readings ?? []);
      }
    } catch (error) {
      side.error = error.name === "AbortError" ? "stopped" : error instanceof Problem ? error.message : "the server does not answer";
    }
    side.shown.setAttribute("aria-busy", "false");
  }

  add(side, text, readings) {
    side.text += text;
    side.tokens.push(...readings);
    // Colours would tell which side is which.
    if (text) side.shown.append(readings.length && !this.hidden ? piece(text, readings[0].scores) : text);
    if (text && this.hidden && readings.length) (side.later ??= []).push([side.shown.lastChild, readings[0].scores]);
  }

  reveal() {
    this.hidden = false;
    this.verdict.hidden = true;
    for (const kind of KINDS) {
      const side = this.sides[kind];
      this.name(kind);
      for (const [node, scores] of side.later ?? []) node.replaceWith(piece(node.data, scores));
      side.later = [];
      if (side.error === "stopped") side.foot.append(telling("p", "stopped", {}, { class: "warn" }));
      else if (side.error) side.foot.append(el("p", { class: "error", role: "alert", lang: "en" }, side.error));
      else if (!side.text) side.foot.append(telling("p", "empty", {}, { class: "soft" }));
      if (side.tokens.length) side.foot.append(table(side.tokens));
      if (side.steering && kind === "steered") side.foot.append(proof(side.steering, this.offer.values));
    }
    if (KINDS.every((kind) => !this.sides[kind].error)) this.decided(this.record());
  }

  prefer(kind) {
    this.preferred = kind;
    const record = this.record();
    this.reveal();
    this.element.append(telling("p", `preferred-${kind}`, {}, { class: "preferred", role: "status", tabindex: -1 }));
    this.element.lastChild.focus();
    return record;
  }

  record() {
    const { mode, prompt, model, run, options, steering, blind, messages } = this.setting;
    return {
      at: new Date().toISOString(), model, run, mode, prompt, ...(mode === "chat" ? { turns: messages.base.length } : {}), steering, options,
      base: this.sides.base.text, steered: this.sides.steered.text, blind, shown_first: this.order[0], preferred: this.preferred ?? null,
    };
  }
}

/** Put a round before the others. */
export function show(round) {
  byId("no-answers").hidden = true;
  byId("rounds").prepend(round.element);
  // On a narrow screen the answers stand below everything that sets them.
  if (round.element.getBoundingClientRect().top > innerHeight) round.element.scrollIntoView();
}
