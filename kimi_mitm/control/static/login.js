// Asks for the token; it stays in this tab.

import { token } from "/static/api.js";
import { say } from "/static/format.js";

/** Shows the question and gives when something was entered. */
export function askForToken() {
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
