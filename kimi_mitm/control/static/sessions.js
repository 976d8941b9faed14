// Live sessions as cards with their context fill; choosing one filters the exchanges.

import { call } from "/static/api.js";
import { dollars, el, exact, hue, percent, plural, say, tokens, UNKNOWN, when } from "/static/format.js";
import { warn } from "/static/notices.js";

const ENDED_SHOWN = 20;
const LEVELS = [
  [95, "critical", "critical"],
  [90, "very_high", "very high"],
  [80, "high", "high"],
  [0, "normal", ""],
];

/** The level of a fill, by the server's steps. */
export function level(fill) {
  return LEVELS.find(([floor]) => fill >= floor) ?? LEVELS.at(-1);
}

export class Sessions {
  #known = new Map();
  #cards = new Map();
  #chosen = null;
  #onChoose;
  #live = document.getElementById("sessions-live");
  #none = document.getElementById("sessions-none");
  #count = document.getElementById("sessions-count");
  #ended = document.getElementById("sessions-ended");

  constructor(onChoose) {
    this.#onChoose = onChoose;
  }

  get(id) {
    return this.#known.get(id);
  }

  get chosen() {
    return this.#chosen;
  }

  choose(id) {
    this.#chosen = this.#chosen === id ? null : id;
    for (const [other, card] of this.#cards) card.press(other === this.#chosen);
    this.#onChoose(this.#known.get(this.#chosen) ?? null);
  }

  /** All that the server knows now. */
  replace(list) {
    this.#known = new Map(list.map((session) => [session.session_id, session]));
    if (this.#chosen !== null && !this.#known.has(this.#chosen)) this.choose(null);
    this.#paint();
  }

  /** One that is new or has changed. */
  put(session) {
    this.#known.set(session.session_id, session);
    this.#paint();
  }

  /** An exchange moves its session's fill at once; its other figures come from the server later. */
  touch(exchange) {
    const session = this.#known.get(exchange.session_id);
    if (!session || exchange.side || exchange.context_percent === null) return;
    const statistics = {
      ...session.statistics,
      context_percent: exchange.context_percent,
      context_window: exchange.context_window,
      context_tokens: exchange.input_tokens ?? exchange.estimated_input_tokens,
    };
    this.put({ ...session, statistics, updated_at: exchange.ended_at ?? exchange.started_at });
  }

  #paint() {
    const all = [...this.#known.values()].sort((a, b) => b.updated_at.localeCompare(a.updated_at));
    const live = all.filter((session) => session.session_status !== "ended");
    const ended = all.filter((session) => session.session_status === "ended");
    this.#fill(this.#live, live);
    this.#fill(this.#ended.querySelector("ul"), ended.slice(0, ENDED_SHOWN));
    this.#none.hidden = live.length > 0;
    this.#ended.hidden = ended.length === 0;
    say(this.#count, String(live.length));
    say(this.#ended.querySelector(".count"), String(ended.length));
    for (const id of [...this.#cards.keys()].filter((id) => !this.#known.has(id))) this.#cards.delete(id);
  }

  #fill(list, sessions) {
    const wanted = sessions.map((session) => {
      const id = session.session_id;
      if (!this.#cards.has(id)) this.#cards.set(id, new Card(id, () => this.choose(id), () => this.#end(id)));
      const card = this.#cards.get(id);
      card.update(session, id === this.#chosen);
      return card.node;
    });
    const same = wanted.length === list.childElementCount && wanted.every((node, at) => list.children[at] === node);
    // Moving a node takes the focus from what is in it, so the order waits while somebody is in there.
    if (same || (list.contains(document.activeElement) && wanted.length === list.childElementCount)) return;
    list.replaceChildren(...wanted);
  }

  async #end(id) {
    try {
      this.put(await call("POST", `/api/sessions/${encodeURIComponent(id)}/end`));
    } catch (error) {
      warn(`The session could not be ended. ${error instanceof TypeError ? "Nobody answers." : error.message}`);
    }
  }
}

class Card {
  constructor(id, onChoose, onEnd) {
    this.dot = el("span", { class: "dot", "aria-hidden": "true" });
    this.client = el("b");
    this.user = el("span", { class: "muted" });
    this.status = el("span", { class: "status" });
    this.button = el("button", { type: "button", class: "choose" }, this.dot, this.client, " ", this.user);
    this.button.addEventListener("click", onChoose);
    this.model = el("p", { class: "model" });
    this.bar = el("span", { class: "fill" });
    this.meter = el("div", { class: "meter", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100 }, this.bar);
    this.context = el("p", { class: "context" });
    this.figures = el("p", { class: "figures muted" });
    this.end = el("button", { type: "button", class: "quiet end" }, "End");
    this.end.addEventListener("click", onEnd);
    this.node = el(
      "li",
      { class: "card session", "data-id": id },
      el("div", { class: "line" }, this.button, this.status),
      this.model,
      this.meter,
      this.context,
      el("div", { class: "line" }, this.figures, this.end),
    );
  }

  press(pressed) {
    this.button.setAttribute("aria-pressed", String(pressed));
    this.node.classList.toggle("chosen", pressed);
  }

  update(session, chosen) {
    const { statistics: figures, session_status: status } = session;
    this.press(chosen);
    this.node.dataset.status = status;
    this.dot.style.setProperty("--hue", hue(session.provider));
    say(this.client, session.client ?? session.config_id ?? "unknown client");
    say(this.user, session.name ? `${session.user_id} · ${session.name}` : session.user_id);
    say(this.status, session.current || status === "ended" ? status : `${status} · in the background`);
    say(this.model, session.model ? `${session.model} · ${session.providers.join(" → ")}` : session.providers.join(" → "));
    this.#fill(figures);
    const parts = [
      plural(figures.requests, "exchange"),
      `${tokens(figures.total_prompt_tokens)} in`,
      `${tokens(figures.total_completion_tokens)} out`,
      dollars(figures.cost_usd),
    ];
    say(this.figures, parts.join(" · "));
    this.figures.title = `Since ${when(session.started_at)} · ${session.session_id}`;
    const who = `${this.client.textContent} of ${session.user_id}`;
    this.button.setAttribute("aria-label", `Only the exchanges of ${who}`);
    this.end.setAttribute("aria-label", `End the session ${who}`);
    this.end.hidden = status === "ended";
  }

  #fill({ context_percent: fill, context_window: size, context_tokens: used }) {
    const known = fill !== null && fill !== undefined;
    this.meter.hidden = !known;
    const [, name, spoken] = level(fill ?? 0);
    this.meter.dataset.level = name;
    if (known) {
      this.meter.setAttribute("aria-valuenow", Math.min(100, fill).toFixed(1));
      this.meter.setAttribute("aria-label", "Context fill");
      this.meter.setAttribute("aria-valuetext", `${fill.toFixed(0)} per cent${spoken && `, ${spoken}`}`);
      this.bar.style.setProperty("--part", `${Math.min(100, fill)}%`);
    }
    const of = size ? ` of ${tokens(size)}` : "";
    const text = known ? `${percent(fill)}${of}${spoken && ` · ${spoken}`}` : `context ${UNKNOWN}`;
    say(this.context, text);
    this.context.dataset.level = name;
    this.context.title = `${exact(used)} tokens`;
  }
}
