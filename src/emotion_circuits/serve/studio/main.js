// The studio: asks the server what it offers, wires the page, writes rounds.

import { offer as asked } from "./api.js";
import { byId, el, save } from "./dom.js";
import { FORMS } from "./exporting.js";
import { doses, Kept } from "./kept.js";
import { prepare } from "./readings.js";
import { Round, show } from "./rounds.js";
import { key, setting as stored } from "./store.js";
import { nameOf, Tone } from "./tone.js";
import { language, say, speak, told, whenSpoken } from "./words.js";

let offer, tone, kept, round, stopper;
let keyed = false;
let count = 0;
let talk = null; // of a chat: the turns of either side

const number = (id) => (byId(id).value === "" ? null : byId(id).valueAsNumber);
const mode = () => (byId("mode-chat").checked ? "chat" : "continue");

/** What is on the page, as a request; of a chat, `messages` of one side or of both. */
function setting(side = "steered") {
  const prompt = byId("prompt").value;
  const options = { max_tokens: number("max-tokens"), temperature: number("temperature"), top_p: number("top-p") };
  if (number("seed") !== null) options.seed = number("seed");
  if (byId("readings").checked) options.readings = true;
  const turn = { role: "user", content: prompt };
  const messages = { base: [...(talk?.base ?? []), turn], steered: [...(talk?.steered ?? []), turn] };
  return {
    mode: mode(), prompt, options, steering: tone.steering(), model: offer.model, run: offer.runs.filter(Boolean).join("; "), blind: byId("blind").checked,
    ...(mode() === "chat" ? { messages: side ? messages[side] : messages } : {}),
  };
}

function changed() {
  byId("exported").textContent = FORMS[byId("form").value].write(setting(), { offer, keyed });
  byId("copied").textContent = "";
}

function modes() {
  told(byId("prompt-label"), mode() === "chat" ? "prompt-chat" : "prompt-continue");
  byId("anew").hidden = mode() !== "chat";
  byId("anew").disabled = !talk;
  changed();
}

async function write(event) {
  event.preventDefault();
  if (stopper) return;
  if (!byId("composer").reportValidity()) return;
  const given = setting(null);
  if (!given.prompt.trim()) return status("say-something", byId("prompt"));
  if (given.blind && !Object.keys(given.steering).length) return status("blind-needs-dose", document.querySelector("#values input"));
  if (given.options.seed === undefined) given.options.seed = crypto.getRandomValues(new Uint32Array(1))[0]; // one for both sides
  stopper = new AbortController();
  byId("go").disabled = true;
  byId("stop").disabled = false;
  status("writing");
  round = new Round((count += 1), given, offer, (record) => kept.take(record));
  show(round);
  const whole = await round.write(stopper.signal);
  if (whole && given.mode === "chat") {
    const after = (side) => [...given.messages[side], { role: "assistant", content: round.sides[side].text }];
    talk = { base: after("base"), steered: after("steered") };
    byId("prompt").value = "";
  }
  stopper = null;
  byId("go").disabled = false;
  byId("stop").disabled = true;
  status(whole ? (given.blind ? "written-blind" : "written") : "not-written");
  modes();
}

function status(key_, focus) {
  told(byId("status"), key_);
  focus?.focus();
}

async function copy() {
  const text = byId("exported").textContent;
  try {
    await navigator.clipboard.writeText(text);
    byId("copied").textContent = say("copied");
  } catch {
    // Without TLS on another machine a page may not write there: the text is marked for the reader to copy.
    getSelection().selectAllChildren(byId("exported"));
    byId("copied").textContent = say("copy-marked");
  }
}

function again(row) {
  tone.set(doses(row));
  if (row.mode !== "chat" || offer.chat) document.querySelector(`input[name=mode][value="${row.mode === "chat" ? "chat" : "continue"}"]`).checked = true;
  byId("prompt").value = String(row.prompt ?? "");
  for (const [id, name] of [["max-tokens", "max_tokens"], ["temperature", "temperature"], ["top-p", "top_p"], ["seed", "seed"]]) {
    byId(id).value = Number.isFinite(row.options?.[name]) ? row.options[name] : "";
  }
  modes();
  byId("prompt").focus();
}

/** Wire what the server offers; once. */
function open() {
  byId("key-form").hidden = true;
  byId("studio").hidden = false;
  byId("about").textContent = [offer.model, ...offer.runs].filter(Boolean).join(" · ");
  byId("mode-chat").disabled = !offer.chat;
  byId("no-chat").hidden = offer.chat;
  byId("readings").disabled = !offer.readings;
  byId("readings").checked = offer.readings;
  tone = new Tone(offer, changed);
  prepare(offer.values);
  const own = offer.values.filter((value) => value.validated).map((value, place) => [
    () => say("preset-own", { value: nameOf(value)() }), new Map([[value.value, value.chosen]]), place]);
  kept = new Kept(own, tone, again);
  byId("composer").addEventListener("submit", write);
  byId("composer").addEventListener("input", changed);
  for (const radio of document.querySelectorAll("input[name=mode]")) radio.addEventListener("change", modes);
  byId("stop").addEventListener("click", () => stopper?.abort());
  byId("anew").addEventListener("click", () => { talk = null; modes(); status("anew-done", byId("prompt")); });
  byId("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("composer").requestSubmit();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") stopper?.abort(); });
  byId("form").addEventListener("change", changed);
  byId("copy").addEventListener("click", copy);
  byId("download").addEventListener("click", () => {
    const { file, kind } = FORMS[byId("form").value];
    save(file, byId("exported").textContent, kind);
  });
  whenSpoken(changed);
  modes();
}

async function enter() {
  byId("failed").hidden = true;
  try {
    offer = await asked();
    keyed = Boolean(key());
    open();
  } catch (error) {
    if (error.status === 401) {
      byId("key-wrong").hidden = !key();
      byId("key-form").hidden = false;
      byId("key").focus();
    } else {
      byId("failed").textContent = error.message;
      byId("failed").hidden = false;
    }
  }
}

function theme(wanted) {
  byId("theme").value = ["light", "dark"].includes(wanted) ? wanted : "system";
  document.documentElement.dataset.theme = byId("theme").value;
}

async function start() {
  theme(stored("theme"));
  byId("theme").addEventListener("change", () => theme(stored("theme", byId("theme").value)));
  const wanted = stored("language") ?? navigator.language.split("-")[0];
  const languages = await speak(wanted);
  const names = (code) => new Intl.DisplayNames([code.replace("_", "-")], { type: "language" }).of(code.replace("_", "-"));
  byId("language").replaceChildren(...languages.map((code) => el("option", { value: code, lang: code }, names(code))));
  byId("language").value = language();
  byId("language").addEventListener("change", () => speak(stored("language", byId("language").value)));
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key(byId("key").value);
    byId("key").value = "";
    enter();
  });
  await enter();
}

start();
