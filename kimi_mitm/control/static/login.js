// Asks for the token; it stays in this tab.

import { token } from "/static/api.js";
import { say } from "/static/format.js";

let asking = null;

/** Shows the question and gives when something was entered; asks once for all who ask meanwhile. */
export function askForToken() {
  asking ??= ask().finally(() => {
    asking = null;
  });
  return asking;
}

function ask() {
  const dialog = document.getElementById("login");
  const input = document.getElementById("token");
  say(document.getElementById("login-problem"), token.get() ? "This token was refused." : "");
  token.set("");
  input.value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    const closed = () => {
      token.set(input.value.trim());
      input.value = "";
      resolve();
    };
    dialog.addEventListener("close", closed, { once: true });
  });
}
