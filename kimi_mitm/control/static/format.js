// Figures and elements. Text always goes in as text, never as markup.

export const UNKNOWN = "–";

/** An element; `attributes` that are false, null or undefined are left out, `children` are nodes or text. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets text only when it differs, so that nothing flickers or is read out twice. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en");

function short(value, unit, suffix) {
  const scaled = value / unit;
  return `${scaled < 99.95 ? scaled.toFixed(1) : Math.round(scaled)}${suffix}`;
}

/** 950, 12.4k, 1.3M; unknown is a dash. */
export function tokens(value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (value < 1000) return whole.format(Math.round(value));
  if (value < 999_500) return short(value, 1000, "k");
  return short(value, 1_000_000, "M");
}

/** The same number in full, for a tooltip. */
export function exact(value) {
  return value === null || value === undefined ? "unknown" : whole.format(value);
}

export function dollars(text) {
  if (text === null || text === undefined) return UNKNOWN;
  const value = Number(text);
  if (value === 0) return "$0";
  if (value < 0.0001) return "<$0.0001";
  return `$${value.toFixed(value < 0.01 ? 4 : value < 1 ? 3 : 2)}`;
}

export function percent(value, digits = 0) {
  return value === null || value === undefined ? UNKNOWN : `${value.toFixed(digits)} %`;
}

/** A ratio as per cent: 0.012 → 1.2 %. */
export function ratio(value) {
  return value === null || value === undefined ? UNKNOWN : percent(value * 100, value < 0.0995 ? 1 : 0);
}

export function took(ms) {
  if (ms === null || ms === undefined) return UNKNOWN;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const dated = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

export function time(iso) {
  return iso ? clock.format(new Date(iso)) : UNKNOWN;
}

/** The time today, the date as well on other days. */
export function when(iso) {
  if (!iso) return UNKNOWN;
  const at = new Date(iso);
  return at.toDateString() === new Date().toDateString() ? clock.format(at) : dated.format(at);
}

export function plural(count, one, many = `${one}s`) {
  return `${whole.format(count)} ${count === 1 ? one : many}`;
}

/** A stable hue per name, for the dot beside it. */
export function hue(name) {
  let sum = 7;
  for (const letter of name ?? "") sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}

/** Calls `act` once things have been quiet for `ms`, at the latest after five times that. */
export function debounced(act, ms) {
  let timer = null;
  let first = 0;
  return () => {
    const now = Date.now();
    if (timer === null) first = now;
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        timer = null;
        act();
      },
      Math.max(0, Math.min(ms, first + 5 * ms - now)),
    );
  };
}
