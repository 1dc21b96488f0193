// Elements whose texts are only ever texts: nothing in the studio makes markup of a string.

const SVG = "http://www.w3.org/2000/svg";

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** An HTML element; `attributes.on` holds listeners, children are elements or texts. */
export const el = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);

/** An element of a drawing. */
export const svg = (tag, attributes = {}, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

/** A figure as the reports write it: two significant digits at least, a true minus sign. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = size >= 100 ? value.toFixed(0) : size >= 1 ? value.toFixed(2) : size >= 0.095 || size === 0 ? value.toFixed(2) : value.toPrecision(2);
  return text.replace("-", "−");
}

/** An estimate with its interval. */
export const interval = (value, low, high) =>
  Number.isFinite(low) && Number.isFinite(high) && low !== null && high !== null
    ? `${number(value)} [${number(low)}, ${number(high)}]` : number(value);

/** Have the browser save a text as a file. */
export function save(name, text, kind) {
  const url = URL.createObjectURL(new Blob([text], { type: `${kind};charset=utf-8` }));
  const link = el("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
