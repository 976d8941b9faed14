// The exchanges as they come: an estimate first, the settled figure when the provider has reported.

import { composition, facts } from "/static/details.js";
import { dollars, el, exact, hue, say, time, tokens, took, UNKNOWN } from "/static/format.js";

const MOST = 300;
const FUSED = new Set(["compile_chat", "api_error", "logs", "hybrid"]);

/** Where a prompt's figure comes from, in one word. */
export function origin(exchange) {
  if (!exchange.is_estimated && exchange.source === "usage") return "reported";
  if (FUSED.has(exchange.source) && exchange.input_tokens !== null) return "fused";
  return (exchange.estimated_input_tokens !== null && exchange.estimate_kind) || "unknown";
}

export class Exchanges {
  #known = new Map();
  #rows = new Map();
  #dirty = new Set();
  #timer = null;
  #session = null;
  #body = document.getElementById("rows");
  #none = document.getElementById("rows-none");
  #side = document.getElementById("side");

  constructor() {
    this.#side.addEventListener("change", () => this.#layout());
  }

  /** Shows one session's exchanges only, or all (null). */
  filter(session) {
    this.#session = session;
    this.#layout();
  }

  /** All that the server told; what is newer here stays. */
  replace(list) {
    this.#known = new Map(list.map((exchange) => [exchange.id, exchange]));
    for (const [id, row] of this.#rows) {
      if (this.#known.has(id)) row.update(this.#known.get(id));
      else this.#drop(id);
    }
    this.#layout();
  }

  /** One that is new or has changed. Many in a moment are drawn together. */
  put(exchange) {
    this.#known.set(exchange.id, exchange);
    this.#dirty.add(exchange.id);
    this.#timer ??= setTimeout(() => this.#draw(), 40);
  }

  #draw() {
    this.#timer = null;
    let fresh = false;
    for (const id of this.#dirty) {
      const row = this.#rows.get(id);
      if (row) row.update(this.#known.get(id));
      else fresh = true;
    }
    this.#dirty.clear();
    if (fresh) this.#layout(true);
  }

  #layout(fresh = false) {
    const sorted = [...this.#known.values()].sort((a, b) => b.started_at.localeCompare(a.started_at));
    for (const { id } of sorted.splice(MOST)) this.#drop(id);
    const shown = sorted.filter((exchange) => this.#wanted(exchange));
    let before = null;
    for (const exchange of shown) {
      let row = this.#rows.get(exchange.id);
      if (!row) {
        row = new Row(exchange.id);
        row.update(exchange);
        row.node.classList.toggle("fresh", fresh);
        this.#rows.set(exchange.id, row);
      }
      const place = before === null ? this.#body.firstElementChild : before.nextElementSibling;
      if (place !== row.node) this.#body.insertBefore(row.node, place);
      row.more && row.node.after(row.more);
      before = row.more ?? row.node;
    }
    while (before ? before.nextElementSibling : this.#body.firstElementChild) {
      (before ? before.nextElementSibling : this.#body.firstElementChild).remove();
    }
    this.#none.hidden = shown.length > 0;
  }

  #wanted(exchange) {
    return (this.#session === null || exchange.session_id === this.#session) && (this.#side.checked || !exchange.side);
  }

  #drop(id) {
    this.#known.delete(id);
    const row = this.#rows.get(id);
    row?.more?.remove();
    row?.node.remove();
    this.#rows.delete(id);
  }
}

class Row {
  more = null;
  #exchange = null;

  constructor(id) {
    const cell = (label, kind = "") => el("td", { "data-label": label, class: kind });
    this.time = cell("Time", "time");
    this.client = el("span");
    this.user = el("small", { class: "muted" });
    this.who = cell("Client");
    this.who.append(this.client, this.user);
    this.dot = el("span", { class: "dot", "aria-hidden": "true" });
    this.name = el("span", { class: "name" });
    this.provider = el("small", { class: "muted" });
    this.marks = el("span", { class: "marks" });
    this.model = cell("Model", "wide");
    const beside = el("div", { class: "beside" }, this.provider, this.marks);
    this.model.append(el("div", { class: "model" }, this.dot, this.name, beside));
    this.figure = el("span", { class: "figure" });
    this.origin = el("span", { class: "origin" });
    this.prompt = cell("Prompt tokens", "num prompt");
    this.prompt.append(this.figure, " ", this.origin);
    this.output = cell("Generated", "num");
    this.cached = cell("Cached", "num");
    this.cost = cell("Cost", "num");
    this.took = cell("Took", "num");
    this.open = el("button", { type: "button", class: "quiet open", "aria-expanded": "false", "aria-label": "Details" }, "›");
    this.open.addEventListener("click", () => this.#toggle());
    const last = el("td", { class: "opener" }, this.open);
    this.node = el("tr", { "data-id": id });
    this.node.append(this.time, this.who, this.model, this.prompt, this.output, this.cached, this.cost, this.took, last);
  }

  update(exchange) {
    this.#exchange = exchange;
    const running = exchange.ended_at === null && exchange.error === null;
    this.node.dataset.state = exchange.error ? "failed" : running ? "running" : "done";
    say(this.time, time(exchange.started_at));
    this.time.title = exchange.started_at;
    say(this.client, exchange.client);
    say(this.user, exchange.user ?? "unknown user");
    this.who.title = exchange.session_id ?? "no session";
    this.dot.style.setProperty("--hue", hue(exchange.provider));
    say(this.name, exchange.response_model ?? exchange.model ?? "unknown model");
    say(this.provider, exchange.served_by && exchange.served_by !== exchange.provider ? `${exchange.provider} via ${exchange.served_by}` : exchange.provider);
    this.#mark(exchange, running);
    this.#prompt(exchange);
    this.#number(this.output, exchange.output_tokens);
    this.#number(this.cached, exchange.cache_read_tokens);
    say(this.cost, dollars(exchange.cost_usd));
    this.cost.title = exchange.cost_usd === null ? "price unknown" : `$${exchange.cost_usd}`;
    say(this.took, running ? "…" : took(exchange.duration_ms));
    this.took.title = `first token after ${took(exchange.ttft_ms)}`;
    if (this.more) this.#describe();
  }

  #mark(exchange, running) {
    const marks = [
      running && ["live", "running"],
      exchange.error && ["bad", exchange.status >= 400 ? `${exchange.status} ${exchange.error.type}` : exchange.error.type],
      exchange.side && ["", "side"],
      exchange.is_noise && ["", "mostly history"],
      exchange.transport === "websocket" && ["", "websocket"],
    ].filter(Boolean);
    const text = marks.map(([, word]) => word).join("\n");
    if (this.marks.dataset.text === text) return;
    this.marks.dataset.text = text;
    this.marks.replaceChildren(...marks.map(([kind, word]) => el("span", { class: `mark ${kind}` }, word)));
  }

  #prompt(exchange) {
    const { estimated_input_tokens: estimate, input_tokens: settled } = exchange;
    const how = origin(exchange);
    const known = how === "reported" || how === "fused";
    const parts = [];
    if (estimate !== null) parts.push(known ? tokens(estimate) : `≈ ${tokens(estimate)}`);
    if (known && settled !== null) parts.push(tokens(settled));
    say(this.figure, parts.join(" → ") || UNKNOWN);
    const off = known && estimate !== null && settled ? ` (${signed((estimate - settled) / settled)})` : "";
    this.figure.title = `estimated ${exact(estimate)}, ${known ? how : "settled"} ${exact(known ? settled : null)}${off}`;
    say(this.origin, how);
    this.origin.dataset.origin = how;
  }

  #number(cell, value) {
    say(cell, tokens(value));
    cell.title = exact(value);
  }

  #toggle() {
    const opened = this.more === null;
    this.open.setAttribute("aria-expanded", String(opened));
    if (opened) {
      this.more = el("tr", { class: "more" }, el("td", { colspan: 9 }));
      this.#describe();
      this.node.after(this.more);
    } else {
      this.more.remove();
      this.more = null;
    }
  }

  #describe() {
    this.more.firstElementChild.replaceChildren(composition(this.#exchange), facts(this.#exchange));
  }
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${(Math.abs(value) * 100).toFixed(1)} %`;
}
