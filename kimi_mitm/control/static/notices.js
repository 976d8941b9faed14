// Short notices: what happened, for eyes and for screen readers.

import { debounced, el, plural, say } from "/static/format.js";

const STAY_MS = 6_000;
const GATHER_MS = 700;
const MOST = 4;

const region = (id) => document.getElementById(id);

function show(where, text, kind) {
  const notice = el("div", { class: `notice ${kind}` });
  const close = el("button", { type: "button", class: "close", "aria-label": "Dismiss" }, "×");
  close.addEventListener("click", () => notice.remove());
  notice.append(el("p", {}, text), close);
  where.append(notice);
  while (where.childElementCount > MOST) where.firstElementChild.remove();
  setTimeout(() => notice.remove(), STAY_MS);
}

/** Something to know. */
export function notify(text) {
  show(region("notices"), text, "info");
}

/** Something that went wrong. */
export function warn(text) {
  show(region("alerts"), text, "bad");
}

/** Read out, shown nowhere. */
export function speak(text) {
  say(region("spoken"), text);
}

let created = new Map();

const tell = debounced(() => {
  const sessions = [...created.values()];
  created = new Map();
  if (sessions.length === 1) {
    const { client, user_id: user, provider } = sessions[0];
    notify(`New session: ${client ?? "unknown client"} of ${user}${provider ? ` on ${provider}` : ""}`);
  } else {
    notify(plural(sessions.length, "new session"));
  }
}, GATHER_MS);

/** A session was created; several in a short time become one notice. */
export function sessionCreated(session) {
  created.set(session.session_id, session);
  tell();
}
