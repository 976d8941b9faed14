// The switch: shown at once as this browser remembers it, then as the server says; undone on failure.

import { call } from "/static/api.js";
import { el, say, when } from "/static/format.js";
import { speak, warn } from "/static/notices.js";

const MEMORY = "kimi.auto_session";

export class Flag {
  #button = document.getElementById("flag");
  #state = document.getElementById("flag-state");
  #providers = document.getElementById("flag-providers");
  #history = document.getElementById("flag-history");
  #known = null; // what the server said last
  #wanted = null; // what the user wants and the server hasn't confirmed
  #sending = false;

  constructor() {
    this.#button.addEventListener("click", () => this.#flip());
    this.#history.addEventListener("toggle", () => this.#history.open && this.#loadHistory());
    const remembered = localStorage.getItem(MEMORY);
    if (remembered !== null) this.#paint(remembered === "true");
    else this.#button.setAttribute("aria-busy", "true");
  }

  /** Takes what the server says; `by` another page or program, it is read out. */
  update(flag, told = false) {
    const changed = this.#known !== null && this.#known.enabled !== flag.enabled;
    this.#known = flag;
    localStorage.setItem(MEMORY, String(flag.enabled));
    if (this.#wanted !== null) return;
    this.#show();
    if (told && changed) speak(`Automatic sessions ${word(flag.enabled)}, by ${flag.updated_by ?? "unknown"}`);
    if (this.#history.open) this.#loadHistory();
  }

  #show() {
    const flag = this.#known;
    this.#button.removeAttribute("aria-busy");
    this.#button.setAttribute("aria-disabled", String(flag.forced));
    this.#paint(this.#wanted ?? flag.enabled);
    const by = flag.updated_by ? ` · by ${flag.updated_by}, ${when(flag.updated_at)}` : "";
    say(this.#state, `${flag.enabled ? "On" : "Off"}${flag.forced ? " · held by an admin" : by}`);
    const own = Object.entries(flag.providers);
    this.#providers.hidden = own.length === 0;
    this.#providers.replaceChildren(
      ...own.map(([name, enabled]) => el("li", { class: "chip" }, `${name}: ${word(enabled)}`)),
    );
  }

  #paint(enabled) {
    this.#button.setAttribute("aria-checked", String(enabled));
  }

  #flip() {
    if (this.#known?.forced) {
      warn("An admin holds this switch.");
      return;
    }
    this.#wanted = this.#button.getAttribute("aria-checked") !== "true";
    this.#paint(this.#wanted);
    this.#send();
  }

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    try {
      let sent = null;
      while (this.#wanted !== null && this.#wanted !== sent) {
        sent = this.#wanted;
        this.#known = await call("PUT", "/api/auto-session", { enabled: sent });
      }
      this.#wanted = null;
      speak(`Automatic sessions ${word(this.#known.enabled)}`);
    } catch (error) {
      this.#wanted = null;
      const back = this.#known?.enabled ?? localStorage.getItem(MEMORY) === "true";
      this.#paint(back);
      warn(`The switch could not be changed and is ${word(back)} again. ${reason(error)}`);
    } finally {
      this.#sending = false;
    }
    if (this.#known) this.update(this.#known);
  }

  async #loadHistory() {
    const { history } = await call("GET", "/api/auto-session/history?limit=10").catch(() => ({ history: [] }));
    const list = this.#history.querySelector("ol");
    list.replaceChildren(
      ...history.map((change) => el("li", {}, el("b", {}, word(change.enabled)), ` ${about(change)}`)),
    );
    if (history.length === 0) list.append(el("li", { class: "muted" }, "Never changed."));
  }
}

function word(enabled) {
  if (enabled === null) return "as the switch";
  return enabled ? "on" : "off";
}

function about(change) {
  const which = change.provider ? `for ${change.provider} ` : "";
  return `${which}${change.forced ? "forced " : ""}by ${change.updated_by ?? "unknown"}, ${when(change.updated_at)}`;
}

function reason(error) {
  return error instanceof TypeError ? "Nobody answers." : error.message;
}
