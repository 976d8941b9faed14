// Live events that come back by themselves, read once for all pages of a browser.
//
// A browser opens six connections to a host; with a stream for each page, the seventh page would never
// load. So the page that holds a lock reads the stream and tells the others. Where there are no locks
// (they need a secure context, which http://kimi.mitm/ isn't) each page reads its own.

import { headers, Refused, refusal } from "/static/api.js";

const NAME = "kimi.events";
const SILENCE_MS = 75_000; // two heartbeats and a half
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 8_000;

/** `on.state(name)`: connecting, live or reconnecting; `on.open(resumed)`: events flow, and none was missed
 *  if `resumed`; `on.event(event)`; `on.locked()`: gives once a token was entered. */
export class Live {
  #on;
  #channel = navigator.locks ? new BroadcastChannel(NAME) : null;
  #leading = false;
  #state = "connecting";
  #last = null;
  #wait = FIRST_WAIT_MS;
  #wake = null;

  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.#retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#retry());
    this.#channel?.addEventListener("message", ({ data }) => this.#hear(data));
  }

  async run() {
    const whenLeading = (lead) => (navigator.locks ? navigator.locks.request(NAME, lead) : lead());
    for (;;) {
      this.#channel?.postMessage({ ask: true });
      await whenLeading(() => this.#lead());
      await this.#on.locked();
    }
  }

  /** What the page that reads the stream tells the others, and what they ask it. */
  #hear({ ask, state, event }) {
    if (ask && this.#leading) this.#channel.postMessage({ state: this.#state });
    if (this.#leading) return;
    if (state) {
      this.#on.state(state);
      if (state === "live") this.#on.open(false);
    }
    if (event) this.#deliver(event);
  }

  #tell(state) {
    this.#state = state;
    this.#on.state(state);
    this.#channel?.postMessage({ state });
  }

  /** Reads the stream as long as the endpoint lets us. */
  async #lead() {
    this.#leading = true;
    for (;;) {
      try {
        await this.#read();
      } catch (error) {
        if (error instanceof Refused && error.status === 401) break;
      }
      this.#tell("reconnecting");
      await this.#pause();
    }
    this.#leading = false;
  }

  async #read() {
    const ending = new AbortController();
    let silence = setTimeout(() => ending.abort(), SILENCE_MS);
    const resumed = this.#last !== null;
    try {
      // EventSource can't send the token, so the stream is read by fetch.
      const response = await fetch("/events", {
        headers: headers({ Accept: "text/event-stream", ...(resumed && { "Last-Event-ID": this.#last }) }),
        signal: ending.signal,
        cache: "no-store",
        credentials: "omit",
      });
      if (!response.ok) throw await refusal(response);
      this.#wait = FIRST_WAIT_MS;
      this.#tell("live");
      this.#on.open(resumed);
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(silence);
        silence = setTimeout(() => ending.abort(), SILENCE_MS);
        const blocks = (rest + value).split("\n\n");
        rest = blocks.pop();
        blocks.forEach((block) => this.#take(block));
      }
    } finally {
      clearTimeout(silence);
      ending.abort();
    }
  }

  #take(block) {
    let data = "";
    for (const line of block.split("\n")) {
      if (line.startsWith("id: ")) this.#last = line.slice(4);
      if (line.startsWith("data: ")) data += line.slice(6);
    }
    if (!data) return;
    const event = JSON.parse(data);
    this.#channel?.postMessage({ event });
    this.#deliver(event);
  }

  #deliver(event) {
    this.#last = event.id;
    this.#on.event(event);
  }

  #retry() {
    this.#wait = FIRST_WAIT_MS;
    this.#wake?.();
  }

  #pause() {
    const wait = this.#wait * (0.8 + 0.4 * Math.random());
    this.#wait = Math.min(this.#wait * 1.7, LONGEST_WAIT_MS);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
