// What else is known of one exchange: the parts of its prompt, and its facts.

import { el, exact, percent, ratio, tokens, took, when } from "/static/format.js";

const PARTS = {
  system: "system",
  tools: "tools",
  user: "user",
  assistant: "assistant",
  tool_results: "tool results",
  memory: "memory",
  media: "media",
  other: "other",
};

/** The prompt's parts as one bar with its legend. */
export function composition(exchange) {
  const parts = Object.entries(exchange.composition ?? {}).filter(([, value]) => value > 0);
  const total = parts.reduce((sum, [, value]) => sum + value, 0);
  if (total === 0) return el("p", { class: "muted" }, "The prompt's parts are unknown.");
  const bar = el("div", { class: "parts", "aria-hidden": "true" });
  const legend = el("ul", { class: "legend", "aria-label": "Parts of the prompt" });
  for (const [name, value] of parts) {
    const piece = el("span", { "data-part": name });
    piece.style.setProperty("flex-grow", String(value));
    bar.append(piece);
    legend.append(
      el("li", { "data-part": name }, `${PARTS[name] ?? name} `, el("b", {}, tokens(value)), ` ${percent((100 * value) / total)}`),
    );
  }
  return el("div", { class: "composition" }, bar, legend);
}

/** The rest, as names and values; what is unknown is left out. */
export function facts(exchange) {
  const rows = [
    ["Error", exchange.error && `${exchange.error.type}: ${exchange.error.message}`],
    ["Request", exchange.url && `${exchange.method ?? ""} ${exchange.url}`],
    ["Status", exchange.status],
    ["Format", `${exchange.wire_format ?? "unknown"} · ${exchange.operation}${exchange.stream ? " · stream" : ""}`],
    ["User", exchange.user],
    ["Client", [exchange.client, exchange.client_version].filter(Boolean).join(" ")],
    ["Session", exchange.session_id],
    ["Client's session", exchange.client_session_id],
    ["Started", when(exchange.started_at)],
    ["First token after", exchange.ttft_ms !== null && took(exchange.ttft_ms)],
    ["Plain count", exchange.tiktoken_input_tokens !== null && exact(exchange.tiktoken_input_tokens)],
    ["Error band (p90)", exchange.estimate_p90_error !== null && `± ${ratio(exchange.estimate_p90_error)}`],
    ["New since the last turn", exchange.delta_tokens !== null && exact(exchange.delta_tokens)],
    ["History", exchange.history_ratio !== null && ratio(exchange.history_ratio)],
    ["Cache written", exchange.cache_write_tokens !== null && exact(exchange.cache_write_tokens)],
    ["Reasoning", exchange.reasoning_tokens !== null && exact(exchange.reasoning_tokens)],
    ["Context", exchange.context_percent !== null && `${percent(exchange.context_percent, 1)} of ${exact(exchange.context_window)}`],
    ["Figures from", exchange.via ? `${exchange.source} via ${exchange.via}` : exchange.source],
    ["Finished", exchange.finish_reason],
    ["Response", exchange.response_id],
    ...Object.entries(exchange.notes ?? {}).map(([name, value]) => [name, value]),
  ].filter(([, value]) => value !== null && value !== undefined && value !== false && value !== "");
  const list = el("dl", { class: "facts" });
  for (const [name, value] of rows) list.append(el("div", {}, el("dt", {}, name), el("dd", {}, String(value))));
  return list;
}
