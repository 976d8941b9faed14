// The endpoint, seen from a page: requests, with the token where one is needed.

const TOKEN = "kimi.token";

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

/** A request's headers, the token among them when it is known. */
export function headers(more) {
  const known = token.get();
  return { "X-User-Id": "page", ...(known && { Authorization: `Bearer ${known}` }), ...more };
}

/** What an answer that isn't a success says. */
export async function refusal(response) {
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
