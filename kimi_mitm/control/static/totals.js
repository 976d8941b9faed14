// Totals, accuracy and cost, of everything or of the chosen session.

import { dollars, el, exact, hue, plural, ratio, say, tokens } from "/static/format.js";

const TILES = [
  ["Exchanges", (s) => tokens(s.requests), (s) => (s.errors ? plural(s.errors, "error") : "no errors")],
  ["Prompt tokens", (s) => tokens(s.total_prompt_tokens), (s) => `${tokens(s.total_cached_tokens)} from cache`],
  ["Generated tokens", (s) => tokens(s.total_completion_tokens), (s) => `${tokens(s.total_reasoning_tokens)} reasoning`],
  ["Cost", (s) => dollars(s.cost_usd), (s) => (s.unpriced_requests ? `${tokens(s.unpriced_requests)} without a price` : "all priced")],
  ["Estimate error", (s) => ratio(s.estimate_accuracy.median_error), (s) => `median; p90 ${ratio(s.estimate_accuracy.p90_error)}`],
];

export class Totals {
  #tiles;
  #models = document.getElementById("models");

  constructor() {
    this.#tiles = TILES.map(([name]) => {
      const value = el("dd", { class: "value" });
      const note = el("dd", { class: "note muted" });
      return { value, note, node: el("dl", { class: "card tile" }, el("dt", { class: "muted" }, name), value, note) };
    });
    document.getElementById("totals").replaceChildren(...this.#tiles.map((tile) => tile.node));
  }

  update(stats) {
    this.#tiles.forEach((tile, at) => {
      const [, value, note] = TILES[at];
      say(tile.value, value(stats));
      say(tile.note, note(stats));
    });
    this.#models.replaceChildren(...stats.by_model.map(model));
  }
}

function model(row) {
  const dot = el("span", { class: "dot", "aria-hidden": "true" });
  dot.style.setProperty("--hue", hue(row.provider));
  const cell = (label, text, title) => el("td", { class: "num", "data-label": label, title }, text);
  const { median_error: median, p90_error: p90, requests } = row.estimate_accuracy;
  return el(
    "tr",
    {},
    el("td", { "data-label": "Model", class: "wide" }, el("div", { class: "model" }, dot, el("span", { class: "name" }, row.model ?? "unknown model"), el("small", { class: "beside muted" }, row.provider))),
    cell("Exchanges", tokens(row.requests), exact(row.requests)),
    cell("Prompt tokens", tokens(row.total_prompt_tokens), exact(row.total_prompt_tokens)),
    cell("Generated", tokens(row.total_completion_tokens), exact(row.total_completion_tokens)),
    cell("Cost", dollars(row.cost_usd), row.unpriced_requests ? `${plural(row.unpriced_requests, "exchange")} without a price` : "all priced"),
    cell("Estimate error", ratio(median), `median of ${requests}; p90 ${ratio(p90)}`),
  );
}
