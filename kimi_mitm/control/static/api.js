// The endpoint, seen from a page: requests with the token, and live events that come back by themselves.

const TOKEN = "kimi.token";
const SILENCE_MS = 75_000; // two heartbeats and a half
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 8_000;

export class Refused extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (value) => sessionStorage.setItem(TOKEN, value),
};

function headers(more) {
  const known = token.get();
  return { "X-User-Id": "page", ...(known && { Authorization: `Bearer ${known}` }), ...more };
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const { code = "http_error", message = `The answer was ${response.status}.` } = body.error ?? {};
  return new Refused(response.status, code, message);
}

/** Asks and gives the decoded answer; throws `Refused`, or TypeError when nobody answers. */
export async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: headers(body !== undefined && { "Content-Type": "application/json" }),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
  });
  if (!response.ok && response.status !== 503) throw await refusal(response);
  if (response.status === 503 && path !== "/health") throw await refusal(response);
  return response.status === 204 ? null : response.json();
}

/** Live events. EventSource can't send the token, so the stream is read by fetch.
 *  `on.open(resumed)`, `on.event(event)`, `on.state(name)`, `on.locked()`. */
export class Live {
  #on;
  #last = null;
  #wait = FIRST_WAIT_MS;
  #wake = null;

  constructor(on) {
    this.#on = on;
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
  }

  /** Tries again now instead of later. */
  retry() {
    this.#wait = FIRST_WAIT_MS;
    this.#wake?.();
  }

  async run() {
    for (;;) {
      try {
        await this.#read();
      } catch (error) {
        if (error instanceof Refused && error.status === 401) await this.#on.locked();
      }
      this.#on.state("reconnecting");
      await this.#pause();
    }
  }

  async #read() {
    const ending = new AbortController();
    let silence = setTimeout(() => ending.abort(), SILENCE_MS);
    const resumed = this.#last !== null;
    try {
      const response = await fetch("/events", {
        headers: headers({ Accept: "text/event-stream", ...(resumed && { "Last-Event-ID": this.#last }) }),
        signal: ending.signal,
        cache: "no-store",
        credentials: "omit",
      });
      if (!response.ok) throw await refusal(response);
      this.#wait = FIRST_WAIT_MS;
      this.#on.state("live");
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
    if (data) this.#on.event(JSON.parse(data));
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
