// Node's own TLS against the proxy: `node -e … host port target name`; one word says how it went.
const [host, port, target, name] = process.argv.slice(1);
const say = (text) => {
  console.log(text);
  process.exit(0);
};
const plain = require("net").connect(Number(port), host, () =>
  plain.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`),
);
plain.once("error", (error) => say(`unknown ${error.code}`));
plain.once("data", (answer) => {
  const status = answer.toString("latin1").split(" ")[1];
  if (status !== "200") say(`unknown the proxy gives no tunnel (${status})`);
  const tls = require("tls").connect({ socket: plain, servername: name }, () => say("trusted"));
  tls.once("error", (error) => say(`${error.code && error.code !== "ECONNRESET" ? "refused" : "unknown"} ${error.code}`));
  tls.once("close", () => say("unknown the handshake broke off"));
});
setTimeout(() => say("unknown no answer"), 12000);
