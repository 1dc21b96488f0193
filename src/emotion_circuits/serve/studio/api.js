// The server's endpoints, as any client meets them.

import { key } from "./store.js";
import { language } from "./words.js";

/** Why a request was not answered: `status`, and the server's own words (English). */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const address = (path) => new URL(path, document.baseURI).href;

async function ask(path, more = {}) {
  const headers = { "Accept-Language": language(), ...more.headers };
  if (key()) headers.Authorization = `Bearer ${key()}`;
  const answer = await fetch(address(path), { ...more, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  throw new Problem(answer.status, said?.error?.message ?? `HTTP ${answer.status}`);
}

export const offer = async () => (await ask("v1/steering")).json();

/** The chunks of a streamed answer; ends with the server's [DONE], raises where that does not come. */
export async function* streamed(path, body, signal) {
  const answer = await ask(path, {
    method: "POST", signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ...body, stream: true }),
  });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", whole = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done && whole) return;
    if (done) throw new Problem(0, "the answer broke off before its end");
    rest += value;
    for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
      const data = rest.slice(0, end).replace(/^data: /, "");
      rest = rest.slice(end + 2);
      whole = data === "[DONE]";
      if (whole) continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Problem(500, chunk.error.message);
      yield chunk;
    }
  }
}
