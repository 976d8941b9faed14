// The page: everything is read from the API, kept up to date by events, read again after a reset.

import { call, Refused } from "/static/api.js";
import { Exchanges } from "/static/exchanges.js";
import { Flag } from "/static/flag.js";
import { debounced, say } from "/static/format.js";
import { Live } from "/static/live.js";
import { askForToken } from "/static/login.js";
import { notify, sessionCreated, warn } from "/static/notices.js";
import { Sessions } from "/static/sessions.js";
import { Totals } from "/static/totals.js";

const PAGE = 200;
const STATES = {
  connecting: "Connecting…",
  live: "Live",
  reconnecting: "Not connected, trying again…",
  locked: "Token needed",
};

const flag = new Flag();
const totals = new Totals();
const exchanges = new Exchanges();
const sessions = new Sessions(chosen);
const filter = document.getElementById("filter");
const refreshTotals = debounced(() => load(loadTotals), 800);
const refreshSessions = debounced(() => load(loadSessions), 800);
let loading = false;
let again = false;
let loaded = false;

filter.addEventListener("click", () => sessions.choose(sessions.chosen));

function chosen(session) {
  exchanges.filter(session?.session_id ?? null);
  filter.hidden = session === null;
  if (session) say(filter, `Only ${session.client ?? "unknown client"} of ${session.user_id} ×`);
  load(loadTotals);
}

async function loadTotals() {
  const of = sessions.chosen === null ? "" : `?session=${encodeURIComponent(sessions.chosen)}`;
  totals.update(await call("GET", `/api/stats${of}`));
}

async function loadSessions() {
  sessions.replace((await call("GET", "/api/sessions?limit=200")).sessions);
}

async function loadHealth() {
  const health = await call("GET", "/health");
  say(document.getElementById("version"), `v${health.version}`);
  const warnings = document.getElementById("warnings");
  const problems = health.store === "ok" ? health.warnings : [`The store is ${health.store}.`, ...health.warnings];
  warnings.hidden = problems.length === 0;
  say(warnings, problems.length > 1 ? `${problems[0]} (+${problems.length - 1})` : (problems[0] ?? ""));
  warnings.title = problems.join("\n");
}

async function loadAll() {
  const [now, page] = await Promise.all([
    call("GET", "/api/auto-session"),
    call("GET", `/api/exchanges?order=desc&limit=${PAGE}`),
    loadSessions(),
    loadTotals(),
    loadHealth(),
  ]);
  flag.update(now, true);
  exchanges.replace(page.exchanges);
}

/** Runs a loader; true when it went well. Where nobody answers, the live connection notices by itself. */
async function load(what) {
  for (;;) {
    try {
      await what();
      return true;
    } catch (error) {
      if (!(error instanceof Refused)) return false;
      if (error.status !== 401) {
        warn(error.message);
        return false;
      }
      await locked();
    }
  }
}

/** Reads everything; events that come meanwhile are applied afterwards, in their order. */
async function catchUp() {
  again = true;
  if (loading) return;
  loading = true;
  while (again) {
    again = false;
    loaded = await load(loadAll);
  }
  loading = false;
  waiting.splice(0).forEach(apply);
}

const waiting = [];

function take(event) {
  if (event.type === "reset") catchUp();
  else if (loading) waiting.push(event);
  else apply(event);
}

const ACTIONS = {
  "auto_session:toggled": (data) => flag.update(data, true),
  "auto_session:created": (data) => {
    sessionCreated(data.session ?? data);
    refreshSessions();
  },
  "session:started": (data) => {
    if (data.statistics) sessions.put(data);
    else refreshSessions();
    if (!data.resumed) sessionCreated(data);
  },
  "session:switched": refreshSessions,
  "session:ended": refreshSessions,
  "exchange:started": (data) => {
    exchanges.put(data);
    sessions.touch(data);
  },
  "exchange:updated": (data) => exchanges.put(data),
  "exchange:completed": (data) => {
    exchanges.put(data);
    sessions.touch(data);
    refreshTotals();
    refreshSessions();
  },
  alert: (data) => {
    load(loadHealth);
    (data.level === "error" ? warn : notify)(data.message ?? "Something needs a look.");
  },
};

function apply(event) {
  ACTIONS[event.type]?.(event.data);
}

function state(name) {
  const pill = document.getElementById("connection");
  pill.dataset.state = name;
  say(pill.querySelector(".text"), STATES[name]);
}

async function locked() {
  state("locked");
  await askForToken();
  state("connecting");
}

new Live({ state, locked, event: take, open: (resumed) => (resumed && loaded) || catchUp() }).run();
