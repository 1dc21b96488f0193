// The run's dose and response under a slider, on the slider's own scale: effect with interval above, fluency cost below.

import { interval, number, svg } from "./dom.js";
import { say, told } from "./words.js";

const WIDE = 300, HIGH = 132, EDGE = 10; // the slider's thumb is 16 px wide: its middle travels between the edges
const TOP = [20, 68], COST = [90, 114];

/** The measured point nearest to a dose. */
export function nearest(curve, dose) {
  return curve.reduce((best, point) => (best && Math.abs(best.dose - dose) <= Math.abs(point.dose - dose) ? best : point), null);
}

export const effectOf = (point) => interval(point.change, point.low, point.high);
export const costOf = (point) => interval(point.ratio, point.ratio_low, point.ratio_high);

/** Draw it. Returns the drawing and a function that moves the mark to a dose. */
export function curveOf(value, bound, [low, high], name) {
  const points = [{ dose: 0, change: 0, ratio: 1, as_dosed: true, within: true }, ...value.curve]
    .filter((p) => p.dose >= low - 1e-9 && p.dose <= high + 1e-9 && p.change !== null)
    .sort((a, b) => a.dose - b.dose);
  const x = (dose) => EDGE + ((dose - low) / (high - low)) * (WIDE - 2 * EDGE);
  // Points of few openings stand on the way to the choice: their wide intervals would flatten the others, and end at the edge.
  const openings = Math.max(0, ...points.map((p) => p.n ?? 0));
  const firm = points.filter((p) => p.n === undefined || 2 * p.n >= openings);
  const ends = [...points.map((p) => p.change), ...firm.flatMap((p) => [p.low ?? p.change, p.high ?? p.change])];
  const up = Math.min(Math.max(0.1, ...ends), 1), down = Math.max(Math.min(0, ...ends), -1);
  const height = scale(down, up, TOP);
  const y = (change) => height(Math.min(Math.max(change, down), up));
  const most = Math.max(1.1, (bound ?? 1.5) * 1.15);
  const least = Math.min(0.9, ...points.map((p) => p.ratio_low ?? p.ratio ?? 1));
  const cost = scale(Math.log(Math.max(least, 0.5)), Math.log(most), COST);
  const dear = (ratio) => cost(Math.log(Math.min(Math.max(ratio, 0.5), most)));
  const mark = svg("line", { class: "mark", y1: TOP[0] - 4, y2: COST[1] + 4 });
  const vouched = (top, bottom) => svg("rect", {
    class: "validated", x: x(Math.max(0, low)), y: top - 4, width: x(Math.min(1, high)) - x(Math.max(0, low)), height: bottom - top + 8,
  });
  const limit = bound ?? 1.5;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "curve", role: "img" },
    vouched(...TOP), vouched(...COST),
    svg("line", { class: "zero", x1: EDGE, x2: WIDE - EDGE, y1: y(0), y2: y(0) }),
    svg("line", { class: "bound", x1: EDGE, x2: WIDE - EDGE, y1: dear(limit), y2: dear(limit) }),
    mark,
    ...series(points, (p) => [x(p.dose), y(p.change), y(p.low ?? p.change), y(p.high ?? p.change)], "effect"),
    ...series(points, (p) => [x(p.dose), dear(p.ratio), dear(p.ratio_low ?? p.ratio), dear(p.ratio_high ?? p.ratio), p.ratio_high > most], "cost"),
    told(svg("text", { x: EDGE, y: TOP[0] - 8 }), "curve-effect"), told(svg("text", { x: EDGE, y: COST[0] - 8 }), "curve-cost"),
    beside(y(up), `+${number(up)}`), beside(y(0), "0"), beside(dear(limit), `× ${number(limit)}`),
    ...[low, high, ...(low < 0 ? [0, 1] : [])].map((dose) => svg("text", {
      x: x(dose), y: HIGH - 4, "text-anchor": "middle" }, number(dose).replace(/\.?0+$/, ""))),
  );
  const inWords = () => points.slice(1).map((p) => say("curve-point", { dose: number(p.dose), effect: effectOf(p), cost: costOf(p), n: p.n })).join("; ");
  told(drawing, "curve-label", { value: name, points: () => inWords() || say("curve-none") }, "aria-label");
  return { drawing, move: (dose) => { mark.setAttribute("x1", x(dose)); mark.setAttribute("x2", x(dose)); } };
}

function scale(from, to, [top, bottom]) {
  return (value) => bottom - ((value - from) / (to - from || 1)) * (bottom - top);
}

function beside(y, text) {
  return svg("text", { x: WIDE, y: y + 3 }, text);
}

/** Whiskers, a line and dots; hollow: the first token was pushed otherwise than at that dose. An arrow: it lies further up. */
function series(points, place, kind) {
  const at = points.map(place);
  const most = Math.max(...points.map((p) => p.n ?? 0)); // a small dot rests on fewer openings
  return [
    svg("polyline", { class: `line ${kind}`, points: at.map(([x, y]) => `${x},${y}`).join(" ") }),
    ...at.map(([x, , low, high]) => svg("line", { class: `whisker ${kind}`, x1: x, x2: x, y1: low, y2: high })),
    ...at.map(([x, y], i) => svg("circle", { class: `dot ${kind}${points[i].as_dosed ? "" : " hollow"}`, cx: x, cy: y, r: points[i].n < most ? 2.2 : 3.2 })),
    ...at.filter((each) => each[4]).map(([x, , , high]) => svg("path", { class: `arrow ${kind}`, d: `M${x - 4},${high + 5}L${x},${high}L${x + 4},${high + 5}` })),
  ];
}
