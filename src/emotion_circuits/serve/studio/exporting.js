// A setting as something to run elsewhere. Pure functions: what they return is shown as text and never run here.

import { address } from "./api.js";
import { say } from "./words.js";

const KEY = "EMOTION_CIRCUITS_API_KEY";

/** For a shell: between single quotes nothing means anything but a single quote. */
const quoted = (text) => (/^[\w./][\w./:=-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** A value as Python writes it; JSON's strings are Python's. */
function python(value, pad = "") {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((each) => python(each, pad)).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, pad)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

const path = (setting) => (setting.mode === "chat" ? "v1/chat/completions" : "v1/completions");

/** The request's body; `steering` is left out where nothing is steered. */
export function bodyOf(setting, steering = setting.steering) {
  const asked = setting.mode === "chat" ? { messages: setting.messages } : { prompt: setting.prompt };
  return { model: setting.model, ...asked, ...setting.options, ...(Object.keys(steering).length ? { steering } : {}) };
}

const curl = (setting, { keyed }) => [
  `curl ${quoted(address(path(setting)))} -H 'Content-Type: application/json'`,
  ...(keyed ? [`-H "Authorization: Bearer $${KEY}"`] : []),
  `-d ${quoted(JSON.stringify(bodyOf(setting), null, 2))}`,
].join(" \\\n  ");

function openai(setting, { keyed }) {
  const { steering, readings, ...own } = bodyOf(setting);
  const extra = { ...(steering ? { steering } : {}), ...(readings ? { readings } : {}) };
  const call = setting.mode === "chat" ? "chat.completions" : "completions";
  const text = setting.mode === "chat" ? "message.content" : "text";
  return [
    ...(keyed ? ["import os", ""] : []), "from openai import OpenAI", "",
    `client = OpenAI(base_url=${JSON.stringify(address("v1"))}, api_key=${keyed ? `os.environ["${KEY}"]` : '"unused"'})`,
    `answer = client.${call}.create(`,
    ...Object.entries(own).map(([name, value]) => `    ${name}=${python(value)},`),
    ...(Object.keys(extra).length ? [`    extra_body=${python(extra)},`] : []), ")",
    `print(answer.choices[0].${text})`, "print(answer.steering)", "",
  ].join("\n");
}

/** Commands that write the run's vectors and use them at these doses, and what such files cannot carry. */
function vector(setting, { offer }) {
  const lines = [];
  for (const value of offer.values) {
    const dose = setting.steering[value.value];
    if (dose === undefined || !value.validated) continue;
    const file = value.value.replace(/[^\w-]/g, "_");
    const run = quoted(value.run === null ? "RUN" : value.run.replace(/^-/, "./-"));
    const times = Number((dose / value.chosen).toPrecision(6));
    lines.push(
      `# ${say("vector-llama")}${value.first ? `${say("gap")}${say("vector-first")}` : ""}`,
      `emotion-circuits export ${run} --emotion ${quoted(value.own)} --to llama.cpp --out ${file}.gguf`,
      `llama-server -m MODEL.gguf --control-vector-scaled ${file}.gguf:${times}`,
      `# ${say("vector-whole")}`,
      `emotion-circuits export ${run} --emotion ${quoted(value.own)} --to safetensors --out ${file}.safetensors`,
      `emotion-circuits steer --vector ${file}.safetensors --scale=${times} -- ${quoted(setting.prompt || "It rains")}`, "");
  }
  return lines.length ? lines.join("\n") : `# ${say("vector-none")}`;
}

export const FORMS = {
  curl: { write: curl, file: "setting.sh", kind: "text/x-shellscript" },
  python: { write: openai, file: "setting.py", kind: "text/x-python" },
  json: { write: (setting) => `${JSON.stringify(bodyOf(setting), null, 2)}\n`, file: "setting.json", kind: "application/json" },
  vector: { write: vector, file: "vectors.sh", kind: "text/x-shellscript" },
};

/** Rows as CSV. A text that a spreadsheet would take for a formula gets an apostrophe before it; JSON has it as it was. */
export function csv(rows, columns) {
  const cell = (value) => {
    const text = typeof value === "object" && value !== null ? JSON.stringify(value) : String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
