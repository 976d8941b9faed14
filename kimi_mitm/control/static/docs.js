// The API's documentation, drawn from its own schema; nothing comes from another host.

import { call, Refused } from "/static/api.js";
import { el, say } from "/static/format.js";
import { askForToken } from "/static/login.js";

const METHODS = ["get", "put", "post", "delete"];

async function read() {
  for (;;) {
    try {
      return await call("GET", "/openapi.json");
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 401) throw error;
      await askForToken();
    }
  }
}

function resolve(schema, node) {
  const name = node?.$ref?.split("/").at(-1);
  return name ? schema.components.schemas[name] : node;
}

function typeOf(node = {}) {
  if (node.$ref) return node.$ref.split("/").at(-1);
  if (node.anyOf) return node.anyOf.map(typeOf).join(" or ");
  if (node.enum) return node.enum.map((value) => JSON.stringify(value)).join(", ");
  if (node.type === "array") return `list of ${typeOf(node.items)}`;
  return node.format ?? node.type ?? "any";
}

function bound(node) {
  const inner = node.anyOf?.find((one) => one.type !== "null") ?? node;
  const { minimum, maximum, default: preset } = { ...inner, ...node };
  const parts = [];
  if (minimum !== undefined && maximum !== undefined) parts.push(`${minimum} to ${maximum}`);
  if (preset !== undefined && preset !== null) parts.push(`${JSON.stringify(preset)} by default`);
  return parts.length ? ` (${parts.join(", ")})` : "";
}

/** Text whose `words` between backticks are code. */
function prose(attributes, text) {
  const parts = text.split("`");
  return el("p", attributes, ...parts.map((part, at) => (at % 2 ? el("code", {}, part) : part)));
}

function names(rows) {
  const list = el("dl");
  for (const [name, text] of rows) list.append(el("dt", {}, el("code", {}, name)), el("dd", { class: "muted" }, text));
  return list;
}

function example(schema, content, title) {
  const [type, { schema: node } = {}] = Object.entries(content ?? {})[0] ?? [];
  if (!type) return [];
  const known = resolve(schema, node?.anyOf?.[0] ?? node);
  const value = known?.examples?.[0];
  const heading = el("h4", {}, `${title} · ${type}${node?.$ref ? ` · ${typeOf(node)}` : ""}`);
  return value === undefined ? [heading] : [heading, el("pre", { tabindex: 0 }, JSON.stringify(value, null, 2))];
}

function answers(operation) {
  return names(Object.entries(operation.responses).map(([status, response]) => [status, response.description]));
}

function operationCard(schema, path, method, operation) {
  const parameters = (operation.parameters ?? []).filter((one) => one.in !== "header");
  const good = Object.entries(operation.responses).find(([status]) => status.startsWith("2"));
  return el(
    "article",
    { class: "card operation", id: operation.operationId },
    el("h3", {}, el("span", { class: "method", "data-method": method }, method.toUpperCase()), el("code", {}, path)),
    prose({}, operation.description ?? operation.summary),
    ...(parameters.length
      ? [
          el("h4", {}, "Parameters"),
          names(
            parameters.map((one) => {
              const about = one.description ? `. ${one.description}` : "";
              return [one.name, `${one.in}, ${typeOf(one.schema)}${bound(one.schema)}${one.required ? ", required" : ""}${about}`];
            }),
          ),
        ]
      : []),
    ...example(schema, operation.requestBody?.content, "Request"),
    ...example(schema, good?.[1].content, `Answer ${good?.[0] ?? ""}`),
    el("h4", {}, "Answers"),
    answers(operation),
  );
}

function streamCard(path, stream) {
  return el(
    "article",
    { class: "card operation", id: path.slice(1) },
    el("h3", {}, el("span", { class: "method" }, stream.method), el("code", {}, path)),
    prose({}, stream.description),
    el("h4", {}, `Answer · ${stream.answer}`),
  );
}

function draw(schema) {
  say(document.getElementById("title"), `${schema.info.title} API`);
  say(document.getElementById("version"), `v${schema.info.version}`);
  const contents = document.getElementById("contents");
  const main = document.getElementById("operations");
  main.replaceChildren(...schema.info.description.trim().split("\n\n").map((text) => prose({}, text)));
  const link = (id, text) => contents.append(el("a", { href: `#${id}` }, text));
  const heading = (text) => {
    contents.append(el("h2", {}, text));
    main.append(el("h2", {}, text));
  };
  for (const tag of schema.tags) {
    heading(tag.name);
    main.append(el("p", { class: "muted" }, tag.description));
    for (const [path, item] of Object.entries(schema.paths)) {
      for (const method of METHODS.filter((one) => item[one]?.tags.includes(tag.name))) {
        link(item[method].operationId, `${method.toUpperCase()} ${path}`);
        main.append(operationCard(schema, path, method, item[method]));
      }
    }
  }
  heading("live events");
  const { event, ...streams } = schema["x-streams"];
  for (const [path, stream] of Object.entries(streams)) {
    link(path.slice(1), path);
    main.append(streamCard(path, stream));
  }
  main.append(
    el("article", { class: "card operation" }, el("h4", {}, "An event"), el("pre", { tabindex: 0 }, JSON.stringify(event.examples[0], null, 2)), el("h4", {}, "Types"), el("p", {}, event.properties.type.enum.join(" · "))),
  );
  main.dataset.ready = "";
}

draw(await read());
