"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const served = location.protocol.startsWith("http");
  const items = [...data.singles.map((i) => ({ ...i, kind: "single" })), ...data.pairs.map((i) => ({ ...i, kind: "pair" }))];
  const known = new Set(items.map((i) => i.id));
  const place = `emotion-circuits ${data.study} ${data.rater}`;
  const main = document.getElementById("main"), status = document.getElementById("status"), bar = document.getElementById("bar");
  const fresh = () => ({ language: (navigator.language || "en").startsWith("ja") ? "ja" : "en", consent: "", answers: {}, order: [] });
  let state = fresh(), at = 0, shown = 0, spent = 0, draft = {};
  const unsent = new Set();

  // -- what is kept ------------------------------------------------------------------------------------------------------
  const now = () => new Date().toISOString();
  const keep = () => { try { localStorage.setItem(place, JSON.stringify({ ...state, unsent: [...unsent] })); } catch { /* a browser that keeps nothing */ } };
  const asFile = () => ({
    format: 1, study: data.study, rater: data.rater, language: state.language, consent: state.consent,
    answers: state.order.map((item) => ({ item, ...state.answers[item] })),
  });
  function take(found) {
    // What a file or the server holds is checked: a page for somebody else's answers would spoil both.
    if (!found || found.study !== data.study || found.rater !== data.rater || !Array.isArray(found.answers)) return false;
    if (!found.answers.every((a) => known.has(a.item) && a.answer && typeof a.answer === "object")) return false;
    for (const { item, answer, seconds, at: when } of found.answers) {
      if (!(item in state.answers)) state.order.push(item);
      state.answers[item] = { answer, seconds, at: when };
    }
    state.consent = state.consent || found.consent;
    if (data.words[found.language]) state.language = found.language;
    return true;
  }
  try {
    const old = JSON.parse(localStorage.getItem(place));
    if (old && take({ ...asFile(), ...old, study: data.study, rater: data.rater, answers: old.order.map((item) => ({ item, ...old.answers[item] })) })) {
      for (const item of old.unsent || []) if (item in state.answers) unsent.add(item);
    }
  } catch { state = fresh(); }

  let sending = false;
  async function send() {
    if (!served || sending || !unsent.size) return;
    sending = true;
    try {
      while (unsent.size) {
        const [item] = unsent;
        const before = JSON.stringify(state.answers[item]);
        const body = JSON.stringify({ language: state.language, consent: state.consent, item, ...state.answers[item] });
        const answer = await fetch(`${location.pathname}/answers`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
        if (!answer.ok) throw new Error(String(answer.status));
        if (JSON.stringify(state.answers[item]) === before) unsent.delete(item);
        keep();
      }
      tell("sent");
    } catch {
      tell("unsent", true);
      setTimeout(send, 2000);
    } finally { sending = false; }
    if (finished()) draw();
  }
  const finished = () => at >= items.length;

  // -- what is shown -----------------------------------------------------------------------------------------------------
  const words = () => data.words[state.language];
  const say = (name, values = {}) => words()[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
  const label = (value) => data.labels[state.language][value];
  function make(tag, more = {}, ...inside) {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(more)) {
      if (name === "on") for (const [event, run] of Object.entries(value)) found.addEventListener(event, run);
      else if (value === true) found.setAttribute(name, "");
      else if (value !== false && value != null) found.setAttribute(name, value);
    }
    found.append(...inside);
    return found;
  }
  function tell(name, bad = false) {
    status.textContent = name ? say(name) : "";
    status.classList.toggle("bad", bad);
  }
  const button = (name, run, main_ = false) => make("button", { type: "button", id: name, class: main_ ? "main" : null, on: { click: run } }, say(name));

  function draw() {
    document.documentElement.lang = state.language;
    document.title = say("title");
    document.getElementById("title").textContent = say("title");
    document.getElementById("language-name").textContent = say("language");
    bar.hidden = !state.consent;
    const done = items.filter((i) => i.id in state.answers).length;
    bar.setAttribute("aria-valuemax", items.length);
    bar.setAttribute("aria-valuenow", done);
    bar.setAttribute("aria-valuetext", say("progress", { done, all: items.length }));
    bar.firstElementChild.style.setProperty("width", `${(100 * done) / items.length}%`);
    main.replaceChildren(...(!state.consent ? consent() : finished() ? thanks() : question(items[at])));
    outline();
  }

  function consent() {
    const tick = make("input", { type: "checkbox", id: "agree", on: { change: () => { begin.disabled = !tick.checked; } } });
    const begin = button("begin", () => { state.consent = now(); keep(); go(first()); }, true);
    begin.disabled = true;
    const values = { minutes: data.minutes, rater: data.rater };
    return [
      make("h1", {}, say("consent-title")),
      ...[1, 2, 3, 4, 5].map((n) => make("p", {}, say(`consent-${n}`, values))),
      make("h2", {}, say("how-title")),
      make("ul", {}, ...[1, 2, 3, 4].map((n) => make("li", {}, say(`how-${n}`)))),
      make("label", { class: "agree" }, tick, make("span", {}, say("consent-agree"))),
      make("div", { class: "buttons" }, begin),
      ...loader(),
    ];
  }
  function loader() {
    if (served) return [];
    const input = make("input", { type: "file", id: "load", accept: ".json,application/json" });
    input.addEventListener("change", async () => {
      let good = false;
      try { good = take(JSON.parse(await input.files[0].text())); } catch { good = false; }
      if (good) { keep(); go(first()); tell("loaded"); } else tell("load-wrong", true);
    });
    return [make("p", {}, make("label", { class: "file" }, `${say("load")} `, input))];
  }
  function thanks() {
    const open = unsent.size > 0;
    return [
      make("h1", {}, say("done-title")),
      make("p", { id: "done" }, served ? say(open ? "unsent" : "done-sent") : say("done-file")),
      make("div", { class: "buttons" }, button("back", back), button("save", save, !served)),
      ...loader(),
    ];
  }
  function save() {
    const url = URL.createObjectURL(new Blob([JSON.stringify(asFile(), null, 1)], { type: "application/json" }));
    const link = make("a", { href: url, download: `${data.rater}.json` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  function text(heading, one) {
    const own = state.language in one ? state.language : "";
    const said = one[own].trim() || say("empty");
    return make("section", { class: "read long" }, make("h2", {}, say(heading)), make("p", { lang: own || data.textLanguage }, said));
  }
  function question(item) {
    const found = [
      make("p", { class: "part" }, say(`part-${item.kind}`), " · ", say("progress", { done: at + 1, all: items.length })),
    ];
    if (item.opening) found.push(make("section", { class: "read" }, make("h2", {}, say("opening")), make("p", { class: "opening", lang: data.textLanguage }, item.opening)));
    if (item.kind === "single") {
      found.push(text("text", item.texts[0]));
      found.push(choices("emotion", say("ask-emotion"), data.options.map((v) => [v, label(v)])));
      found.push(scale("intensity", say("ask-intensity"), data.intensity, draft.emotion === "none" || draft.emotion === undefined));
      found.push(scale("naturalness", say("ask-naturalness"), data.naturalness));
    } else {
      found.push(make("div", { class: "two" }, text("text-left", item.texts[0]), text("text-right", item.texts[1])));
      found.push(choices("choice", say("ask-pair", { value: label(item.ask) }), ["left", "tie", "right"].map((v) => [v, say(v)])));
    }
    const buttons = make("div", { class: "buttons" });
    if (at > 0) buttons.append(button("back", back));
    buttons.append(button("next", next, true));
    if (!served) buttons.append(button("save", save));
    found.push(buttons);
    return found;
  }
  function choices(name, asked, options) {
    return make(
      "fieldset", { "data-name": name }, make("legend", {}, asked),
      make("div", { class: "choices" }, ...options.map(([value, said], i) => radio(name, value, said, i + 1))),
    );
  }
  function scale(name, asked, values, hidden = false) {
    const found = choices(name, asked, values.map((v) => [v, String(v)]));
    found.classList.add("scale");
    found.hidden = hidden;
    const middle = values[(values.length - 1) / 2];
    found.append(make("p", { class: "ends" }, ...[values[0], middle, values[values.length - 1]].map((v) => make("span", {}, say(`${name}-${v}`)))));
    return found;
  }
  function radio(name, value, said, key) {
    const input = make("input", { type: "radio", name, value, checked: draft[name] === value });
    input.checked = draft[name] === value;
    input.addEventListener("change", () => choose(name, value));
    return make("label", {}, input, make("span", {}, said), ...(typeof value === "string" && key < 10 ? [make("kbd", { "aria-hidden": "true" }, String(key))] : []));
  }
  function choose(name, value) {
    draft[name] = value;
    if (name === "emotion") {
      const intensity = main.querySelector("[data-name=intensity]");
      intensity.hidden = value === "none";
      if (value === "none") delete draft.intensity;
    }
    tell("");
    outline();
  }
  const asked = () => [...main.querySelectorAll("fieldset")].filter((f) => !f.hidden);
  const open = () => asked().find((f) => draft[f.dataset.name] === undefined);
  function outline() {
    const active = open();
    for (const f of main.querySelectorAll("fieldset")) f.classList.toggle("active", f === active);
  }

  // -- going on ----------------------------------------------------------------------------------------------------------
  const first = () => { const i = items.findIndex((x) => !(x.id in state.answers)); return i < 0 ? items.length : i; };
  function go(to) {
    at = Math.max(0, Math.min(to, items.length));
    const old = finished() ? undefined : state.answers[items[at].id];
    draft = old ? { ...old.answer } : {};
    if (draft.emotion === "none") delete draft.intensity;
    spent = old ? old.seconds : 0;
    shown = performance.now();
    draw();
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  function back() { if (at > 0) { tell(""); go(at - 1); } }
  function next() {
    if (open()) { tell("unanswered", true); return; }
    const item = items[at];
    const answer = { ...draft };
    if (item.kind === "single" && answer.emotion === "none") answer.intensity = 0;
    if (!(item.id in state.answers)) state.order.push(item.id);
    state.answers[item.id] = { answer, seconds: Math.round(100 * (spent + (performance.now() - shown) / 1000)) / 100, at: now() };
    if (served) unsent.add(item.id);
    keep();
    go(at + 1);
    if (served) send(); else tell("saved");
  }
  // Time while the page is not looked at is not reading.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { spent += (performance.now() - shown) / 1000; shown = Infinity; } else shown = performance.now();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || !state.consent || finished()) return;
    const on = event.target;
    if (on.matches("select, input[type=file]")) return;
    if (/^[1-9]$/.test(event.key)) {
      const inside = on.closest("fieldset");
      const set = inside || open() || asked().at(-1);
      const input = set.querySelectorAll("input")[set.classList.contains("scale") ? [...set.querySelectorAll("input")].findIndex((i) => i.value === event.key) : Number(event.key) - 1];
      if (input) { input.checked = true; choose(input.name, set.classList.contains("scale") ? Number(input.value) : input.value); event.preventDefault(); if (inside) on.blur(); }
    } else if (event.key === "0") {
      const set = open();
      const input = set && set.querySelector("input[value='0']");
      if (input) { input.checked = true; choose(input.name, 0); event.preventDefault(); }
    } else if (event.key === "Enter" && !on.matches("button")) { next(); event.preventDefault(); }
    else if (event.key === "Backspace") { back(); event.preventDefault(); }
  });

  const select = document.getElementById("language");
  for (const code of Object.keys(data.words)) select.append(make("option", { value: code, lang: code }, data.names[code]));
  select.addEventListener("change", () => { state.language = select.value; keep(); tell(""); draw(); });

  async function start() {
    if (served) {
      try {
        const answer = await fetch(`${location.pathname}/answers`);
        const local = { ...state.answers };
        if (answer.ok && take(await answer.json())) {
          // What this browser holds and the server does not know yet is the newer one.
          for (const item of unsent) if (local[item]) state.answers[item] = local[item];
        }
      } catch { tell("unsent", true); }
    }
    select.value = state.language;
    go(state.consent ? first() : 0);
    send();
  }
  start();
})();
