// Requests to the JSON API, and the live WebSocket.

/** A request that was refused: status and the server's words. */
export class Refused extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

/** Ask the API; Refused where it says no, status 0 where it does not answer. */
export async function ask(method, path, body) {
  let response;
  try {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    response = await fetch(`/api${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) {
    if (response.status === 401) document.dispatchEvent(new CustomEvent("signed-out"));
    throw new Refused(response.status, answer.error);
  }
  return answer;
}

const segment = encodeURIComponent;
export const api = {
  signIn: (token) => ask("POST", "/session", { token }),
  session: () => ask("GET", "/session"),
  signOut: () => ask("DELETE", "/session"),
  accounts: (query) => ask("GET", `/accounts?${new URLSearchParams(query)}`),
  account: (id) => ask("GET", `/accounts/${segment(id)}`),
  history: (id) => ask("GET", `/accounts/${segment(id)}/history`),
  calls: (query) => ask("GET", `/calls?${new URLSearchParams(query)}`),
  call: (id) => ask("GET", `/calls/${segment(id)}`),
  act: (id, kind, text) => ask("POST", `/calls/${segment(id)}/actions`, { kind, text }),
  agreements: (query) => ask("GET", `/agreements?${new URLSearchParams(query)}`),
  ladder: () => ask("GET", "/ladder"),
  reconciliation: () => ask("GET", "/reconciliation"),
  whatIf: (account, scenarios) => ask("POST", "/what-if", { account, scenarios }),
};

const SIGNED_OUT = 4401;
const RETRY_MS = 1500;

/** Run now and then every so often until `signal` aborts, one at a time; a refusal goes to `failed`. */
export function repeat(seconds, signal, work, failed) {
  const turn = async () => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (!signal.aborted) failed(error);
    }
    if (!signal.aborted) setTimeout(turn, seconds * 1000);
  };
  turn();
}

/** The live WebSocket: events `state`, `alerts`, `reset`, `rows` (an Arrow stream) and `link` (connected or not). */
export class Live extends EventTarget {
  #socket = null;
  #wanted = false;
  state = null;
  alerts = [];
  isLinked = false;

  open() {
    this.#wanted = true;
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/api/live`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (typeof data === "string" ? this.#take(JSON.parse(data)) : this.#tell("rows", data));
    socket.onclose = ({ code }) => {
      this.#link(false);
      if (code === SIGNED_OUT) document.dispatchEvent(new CustomEvent("signed-out"));
      else setTimeout(() => this.#again(socket), RETRY_MS);
    };
    this.#socket = socket;
  }

  /** Open another one. A server that began anew knows no session, which a WebSocket cannot say: the API is asked first. */
  async #again(socket) {
    if (this.#wanted) await api.session().catch(() => {});
    if (this.#wanted && this.#socket === socket) this.open();
  }

  close() {
    this.#wanted = false;
    this.#socket?.close();
  }

  #take(message) {
    this.#link(true);
    if (message.kind === "state") this.state = message;
    if (message.kind === "alerts") {
      const held = new Set(this.alerts.map((one) => one.id)); // a new socket begins with alerts that were shown before
      message.alerts = message.alerts.filter((one) => !held.has(one.id));
      this.alerts = [...message.alerts.toReversed(), ...this.alerts].slice(0, 200);
    }
    this.#tell(message.kind, message);
  }

  #link(isLinked) {
    if (this.isLinked === isLinked) return;
    this.isLinked = isLinked;
    this.#tell("link", isLinked);
  }

  #tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

export const live = new Live();
