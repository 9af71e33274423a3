// Sign-in, the frame of the page, and which screen is shown.

import { account } from "./account.js";
import { accountsTable } from "./accounts.js";
import { agreements } from "./agreements.js";
import { api, live } from "./api.js";
import { calls } from "./calls.js";
import { absolute, h, relative, rounded } from "./dom.js";
import { overview } from "./overview.js";
import { reconciliation } from "./reconciliation.js";
import { stress } from "./stress.js";
import { whatIf } from "./what_if.js";

const SCREENS = { overview, account, calls, "cross-margin": agreements, stress, reconciliation, "what-if": whatIf };
const TITLES = { overview: "Overview", account: "Account", calls: "Calls", "cross-margin": "Cross-margin", stress: "Stress", reconciliation: "Reconciliation", "what-if": "What-if" };
const JUMPS = { o: "overview", c: "calls", x: "cross-margin", s: "stress", r: "reconciliation", w: "what-if" };
const THEMES = ["", "light", "dark"];
const QUIET_MS = 5000; // between two announcements of new calls
const CALLED = new Set(["CALL", "OVERDUE", "RESTRICTED", "DEBIT"]);

const part = (id) => document.getElementById(id);
let session = null;
let shown = null; // AbortController of the screen that is shown

// Sign-in

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) {
    history.replaceState(null, "", location.pathname);
    return signIn(token, () => api.session()); // the link of one login, opened again, finds the session that it began
  }
  if (!localStorage.getItem("signed-in")) return askToken("");
  try {
    enter(await api.session());
  } catch (error) {
    askToken(error.status === 401 ? "" : error.message);
  }
}

async function signIn(token, otherwise = () => Promise.reject()) {
  try {
    enter(await api.signIn(token));
  } catch (error) {
    otherwise().then(enter, () => askToken(error.message));
  }
}

function askToken(problem) {
  session = null;
  shown?.abort();
  live.close();
  part("top").hidden = true;
  part("banner").hidden = true;
  document.title = "Sign in · crossmargin";
  const input = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true, maxlength: "128" });
  const submit = (event) => {
    event.preventDefault();
    signIn(input.value.trim());
  };
  const hint = h("p", { class: "muted" }, "crossmargin web-token add USER prints one.");
  const said = problem ? h("p", { class: "notice", role: "alert" }, problem) : null;
  const form = h("form", { class: "sign-in panel", onsubmit: submit }, h("h1", {}, "crossmargin"), h("label", { class: "field", for: "token" }, h("span", {}, "Token"), input), h("button", { class: "primary" }, "Sign in"), hint, said);
  part("main").replaceChildren(form);
  input.focus();
}

function enter(found) {
  session = found;
  localStorage.setItem("signed-in", "yes");
  part("who").textContent = `${found.user} · ${found.role}`;
  part("top").hidden = false;
  accountsTable().catch(() => {}); // before the first rows come; the overview says what went wrong
  live.open();
  route();
}

document.addEventListener("signed-out", () => {
  localStorage.removeItem("signed-in");
  if (session) askToken("The session ended.");
});
part("sign-out").addEventListener("click", async () => {
  await api.signOut().catch(() => {});
  localStorage.removeItem("signed-in");
  location.reload();
});

// Screens

/** [screen, what of it] of the address; null where there is no such screen. */
function place() {
  const [, name, rest] = /^#\/([^/]+)\/?(.*)$/.exec(location.hash) ?? [];
  if (!Object.hasOwn(SCREENS, name) || (name === "account" && !rest)) return null;
  try {
    return [name, decodeURIComponent(rest)];
  } catch {
    return null; // a % that begins no character
  }
}

function route() {
  if (!session) return;
  const found = place();
  if (found === null) history.replaceState(null, "", "#/overview"); // an address of nothing leads there
  const [screen, id] = found ?? ["overview", ""];
  shown?.abort();
  shown = new AbortController();
  const main = part("main");
  main.replaceChildren();
  main.dataset.screen = screen;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${screen}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  document.title = `${screen === "account" ? id : TITLES[screen]} · crossmargin`;
  SCREENS[screen](main, shown.signal, id, session);
}
addEventListener("hashchange", route);
part("skip").addEventListener("click", (event) => {
  event.preventDefault();
  part("main").focus();
});
part("find").addEventListener("submit", (event) => {
  event.preventDefault();
  const id = part("find-account").value.trim();
  if (id) location.hash = `#/account/${encodeURIComponent(id)}`;
});

// How new the data is

function follow() {
  const state = live.state?.state;
  const banner = part("banner");
  const words = session ? staleness(state) : "";
  if (banner.textContent !== words) banner.textContent = words;
  banner.hidden = !words;
  document.documentElement.classList.toggle("is-stale", words !== "");
  if (!state) return;
  const ms = state.clock_ns / 1e6;
  part("clock").textContent = state.clock_ns ? `clock ${absolute(ms).slice(11)}` : "no clock";
  part("clock").title = state.clock_ns ? `engine time ${absolute(ms)}, ${relative(ms)}` : "";
  part("calls-open").textContent = rounded(live.state.calls_open);
  part("calls-open").hidden = live.state.calls_open === 0;
}

function staleness(state) {
  if (!live.isLinked) return state ? "The server does not answer. What is shown is old; trying again." : "";
  if (!state) return "";
  if (!state.connected) return "Redis is lost. What is shown is old; it comes back by itself.";
  if (!state.log_id) return "Redis holds no data yet: no worker has written.";
  if (state.missing.length) return `Not everything of shard ${state.missing.join(", ")} is written yet. What is shown is incomplete.`;
  return state.stale ? `Stale: the engine's clock is ${relative(state.clock_ns / 1e6).replace(" ago", "")} behind. Do not act on these figures.` : "";
}
live.addEventListener("state", follow);
live.addEventListener("link", follow);

// New calls, said aloud

let waiting = [];
let timer = 0;
live.addEventListener("alerts", ({ detail }) => {
  waiting.push(...detail.alerts.filter((one) => one.kind === "status" && CALLED.has(one.to) && !CALLED.has(one.from)));
  if (waiting.length && !timer) timer = setTimeout(announce, QUIET_MS);
});
function announce() {
  const [first, ...others] = waiting;
  part("announcer").textContent = others.length ? `${waiting.length} accounts fell into call, among them ${first.account}.` : `Account ${first.account} fell into call.`;
  waiting = [];
  timer = 0;
}

// Theme and keys

function nextTheme() {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "") + 1) % THEMES.length];
  if (next) root.dataset.theme = next;
  else delete root.dataset.theme;
  localStorage.setItem("theme", next);
  nameTheme();
  document.dispatchEvent(new CustomEvent("theme"));
}
const nameTheme = () => (part("theme").textContent = { "": "Auto", light: "Light", dark: "Dark" }[document.documentElement.dataset.theme ?? ""]);
part("theme").addEventListener("click", nextTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme")));
part("help").addEventListener("click", () => part("keys").showModal());

let isJumping = false;
addEventListener("keydown", (event) => {
  if (!session || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
  const jump = isJumping ? JUMPS[event.key] : undefined;
  isJumping = event.key === "g";
  const own = { "/": () => part("find-account").focus(), f: () => part("filter")?.focus(), t: nextTheme, "?": () => part("keys").showModal() };
  if (jump) location.hash = `#/${jump}`;
  else if (event.key in own) own[event.key]();
  else return;
  event.preventDefault();
});

nameTheme();
start();
