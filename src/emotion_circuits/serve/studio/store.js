// What stays in this browser: presets, preferences, history (localStorage), and the key (sessionStorage, gone with the tab).

const NAME = (what) => `emotion-circuits.${what}`;

/** A list that was kept; whatever else stands there is no list of ours. */
export function list(what) {
  try {
    const found = JSON.parse(localStorage.getItem(NAME(what)));
    return Array.isArray(found) ? found.filter((row) => row !== null && typeof row === "object") : [];
  } catch {
    return [];
  }
}

/** Keep a list; where there is no more room the oldest rows go. Returns how many were let go, or null: nothing is kept here. */
export function keep(what, rows) {
  for (let gone = 0; gone <= rows.length; gone = gone ? gone * 2 : 1) {
    try {
      localStorage.setItem(NAME(what), JSON.stringify(rows.slice(gone)));
      return gone;
    } catch {
      continue;
    }
  }
  return null;
}

export function setting(what, value) {
  try {
    if (value === undefined) return localStorage.getItem(NAME(what));
    localStorage.setItem(NAME(what), value);
  } catch {
    // A browser that keeps nothing asks again at the next visit.
  }
  return value ?? null;
}

export function key(value) {
  try {
    if (value !== undefined) sessionStorage.setItem(NAME("key"), value);
    return sessionStorage.getItem(NAME("key")) ?? "";
  } catch {
    return value ?? "";
  }
}
