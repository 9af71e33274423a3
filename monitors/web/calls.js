// Margin calls: open ones, first due first, or those over; and the life of one with what was said about it.

import { api, live, repeat } from "./api.js";
import { OUT, accountLink, amount, empty, h, less, moment, panel, poolNames, refresh, rounded, select, table, tag, utc } from "./dom.js";

const PAGE = 200;
const SECONDS = 2;
const TYPED_MS = 250; // after the last key
const STATES = { open: ["ISSUED", "PART_MET", "OVERDUE", "ESCALATED", "RESTRICTED"], closed: ["MET", "COVERED", "CANCELLED", "OVER"] };
const SAID = { ack: "acknowledged", note: "noted", cancel: "cancelled" };
const TOLD = ["acknowledged", "noted", "cancelled"]; // events that the notes tell, with who said what
const kept = { which: "open", text: "", pool: "", state: "", unseen: false, offset: 0 };

/** Show calls, and the call `id` beside them, until `signal` aborts. */
export function calls(main, signal, id, session) {
  const list = h("div");
  const bar = h("div");
  const shown = h("span", { class: "muted", role: "status" });
  let asked = 0;
  let typed = 0;
  const load = async () => {
    const number = ++asked; // what is asked later is shown, whichever answers first
    const which = kept.which;
    const found = await api.calls(query());
    if (signal.aborted || number !== asked) return;
    if (!found.calls.length && kept.offset && kept.offset >= found.count) {
      kept.offset = 0;
      return load();
    }
    shown.textContent = range(found);
    refresh(list, found.calls.length ? callTable(found.calls, which, id) : nothing(), pager(found.count));
  };
  const failed = (error) => refresh(list, empty("The calls cannot be read.", error.message));
  const again = () => load().catch(failed);
  const set = (changes) => {
    Object.assign(kept, { offset: 0 }, changes);
    if ("which" in changes) {
      drawBar();
      bar.querySelector("#which").focus(); // it is a new one
    }
    again();
  };
  const type = (text) => {
    clearTimeout(typed);
    typed = setTimeout(() => set({ text }), TYPED_MS);
  };
  const turn = (key, text, step, possible) => {
    const onclick = () => {
      bar.scrollIntoView({ block: "nearest" });
      set({ offset: Math.max(0, kept.offset + step) });
    };
    return h("button", { type: "button", data: { key }, disabled: !possible, onclick }, text);
  };
  const pager = (count) =>
    count <= PAGE ? h("span") : h("div", { class: "buttons" }, turn("before", `‹ Previous ${PAGE}`, -PAGE, kept.offset > 0), turn("after", `Next ${PAGE} ›`, PAGE, kept.offset + PAGE < count));
  const drawBar = () => {
    const names = poolNames(live.state);
    bar.dataset.pools = names.join();
    const filter = bar.querySelector("#filter")?.closest("label") ?? h("label", { class: "field" }, h("span", {}, "Filter"), h("input", { id: "filter", type: "search", placeholder: "account, customer or pool", value: kept.text, maxlength: "64", spellcheck: "false", oninput: (event) => type(event.target.value.trim()) }));
    bar.replaceChildren(
      h("form", { class: "bar", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
        select("which", "Calls", [["open", "open"], ["closed", "over"]], (event) => set({ which: event.target.value, state: "" }), kept.which),
        filter,
        select("by-pool", "Pool", [["", "any"], ...names.map((one) => [one, one])], (event) => set({ pool: event.target.value }), kept.pool),
        select("by-state", "State", [["", "any"], ...STATES[kept.which].map((one) => [one, one.replace("_", " ")])], (event) => set({ state: event.target.value }), kept.state),
        h("label", { class: "check" }, h("input", { type: "checkbox", id: "unseen", checked: kept.unseen, onchange: (event) => set({ unseen: event.target.checked }) }), " not acknowledged"),
        shown));
  };
  const detail = h("div", { class: "detail" });
  main.append(h("div", { class: id ? "split has-detail" : "split" }, panel("calls", "Margin calls", bar, list), detail));
  drawBar();
  live.addEventListener("state", () => bar.dataset.pools !== poolNames(live.state).join() && drawBar(), { signal });
  signal.addEventListener("abort", () => clearTimeout(typed));
  repeat(SECONDS, signal, load, failed);
  if (id) life(detail, signal, id, session);
}

function query() {
  const asked = { state: kept.state || kept.which, limit: PAGE, offset: kept.offset };
  if (kept.text) asked.text = kept.text;
  if (kept.pool) asked.pool = kept.pool;
  if (kept.unseen) asked.acknowledged = false;
  return asked;
}

const isFiltered = () => kept.text || kept.pool || kept.state || kept.unseen;
const word = () => (kept.which === "open" ? "open" : "over");
const nothing = () => empty(isFiltered() ? "No call fits the filter." : kept.which === "open" ? "No open calls." : "No call ended in the last days.");

function range({ calls: rows, count }) {
  const what = `${rounded(count)} ${isFiltered() ? `${word()} that fit` : word()}`;
  return count > PAGE && rows.length ? `${rounded(kept.offset + 1)}–${rounded(kept.offset + rows.length)} of ${what}` : what;
}

const path = (id) => `#/calls/${encodeURIComponent(id)}`;

/** What an open call still asks for. */
const outstanding = (one) => amount(less(one.amount, one.received));

/** The money of a call; open: what is outstanding, too, which of all stays on a narrow screen. */
export const moneyColumns = (isOpen) => [
  ["Amount", (one) => amount(one.amount), true, isOpen ? OUT : undefined],
  ["Received", (one) => amount(one.received), true, isOpen ? OUT : undefined],
  ...(isOpen ? [["Outstanding", outstanding, true]] : []),
  ["Ccy", (one) => one.currency],
];

const callTable = (rows, which, chosen) =>
  table(which === "open" ? "Open margin calls by due time" : "Margin calls that are over, the last to end first", [
    ...(which === "open" ? [["Due, UTC", (one) => utc(one.due_ns), false, OUT], ["Left", (one) => moment(one.due_ns)]] : [["Ended, UTC", (one) => utc(one.ts_ns), false, OUT], ["Ago", (one) => moment(one.ts_ns)]]),
    ["Account", (one) => h("a", { href: path(one.id), class: "id" }, one.account)],
    ["Pool", (one) => one.pool, false, OUT],
    ["State", (one) => tag(one.state)],
    ...moneyColumns(which === "open"),
    ["Issued", (one) => moment(one.issued_ns), false, OUT],
    ["Acknowledged by", (one) => one.acknowledged_by],
    ["Notes", (one) => one.notes.length || "", true, OUT],
  ], rows, { row: (element, one) => {
    element.dataset.key = one.id;
    if (one.id === chosen) element.setAttribute("aria-current", "true");
  } });

/** One call: its figures, its trail, and for an operator what can be said about it. */
function life(host, signal, id, session) {
  const about = h("div");
  const said = h("p", { class: "notice", role: "status", hidden: true });
  const say = session.role === "operator" ? actions(id, said) : h("p", { class: "muted" }, "An operator can acknowledge, note and cancel.");
  say.hidden = true; // until the call is there
  host.append(panel("call", "Call", about, say, said));
  const load = async () => {
    const one = await api.call(id);
    if (signal.aborted) return;
    say.hidden = !STATES.open.includes(one.state);
    refresh(about, ...lifeOf(one));
  };
  repeat(SECONDS, signal, load, (error) => refresh(about, empty(error.status === 404 ? "There is no such call." : "The call cannot be read.", error.message)));
}

const lifeOf = (one) => [
  h("div", { class: "title" }, h("h3", {}, one.id), tag(one.state), h("a", { class: "quiet", href: "#/calls", "aria-label": "Close this call" }, "✕")),
  h("p", {}, accountLink(one.account), ` · customer ${one.customer} · pool ${one.pool}`),
  h("dl", { class: "figures" }, [["Amount", amount(one.amount)], ["Received", amount(one.received)], ...(STATES.open.includes(one.state) ? [["Outstanding", outstanding(one)]] : []), ["Currency", one.currency], ["Due, UTC", [utc(one.due_ns), " ", h("span", { class: "muted" }, moment(one.due_ns))]]].map(([label, shown]) => h("div", {}, h("dt", {}, label), h("dd", {}, ...[shown].flat())))),
  h("h4", {}, "Trail"),
  h("ol", { class: "trail" }, trail(one).map(([ns, ...what]) => h("li", {}, moment(ns), h("span", {}, ...what)))),
];

/** What happened and what was said, [when, what...], oldest first; of a call whose beginning is not kept, what is known. */
function trail(one) {
  const steps = one.life.map((step, at) => [step, one.life[at - 1]]).filter(([{ event }]) => !TOLD.includes(event))
    .map(([step, before]) => [step.ts_ns, ...happened(step, before, one)]);
  for (const note of one.notes) steps.push([note.ts_ns, h("strong", {}, note.user), ` ${SAID[note.kind] ?? note.kind}`, note.text ? `: ${note.text}` : ""]);
  steps.sort(([left], [right]) => left - right);
  if (one.life[0]?.event !== "issued") {
    steps.unshift([one.issued_ns, "issued, due ", moment(one.due_ns)], [0, h("em", {}, `what came next is not kept here: crossmargin calls show ${one.id}`)]);
  }
  if (STATES.open.includes(one.state)) steps.push([one.ts_ns, "now ", tag(one.state)]);
  return steps;
}

const WORDS = { covered: "covered by the market", over: "over; how it ended is not kept here" };

/** A step of a call's life in words, with the amount that it changed; before: the step before, if it is kept. */
function happened({ event, amount: asked, received }, before, { currency, due_ns }) {
  const figure = (text) => [amount(text), ` ${currency}`];
  if (event === "issued") return ["issued for ", ...figure(asked), ", due ", moment(due_ns)];
  if (event === "raised") return ["raised ", ...(before ? ["from ", amount(before.amount), " "] : []), "to ", ...figure(asked)];
  if (event === "received") return ["received ", ...figure(received), " of ", amount(asked), " in all"];
  if (event === "met") return ["met by money: ", ...figure(received)];
  return [WORDS[event] ?? event];
}

function actions(id, said) {
  const text = h("textarea", { id: "say", rows: "2", maxlength: "1024", placeholder: "what was agreed, with whom, until when" });
  const send = async (kind) => {
    said.hidden = false;
    try {
      if (kind !== "ack" && !text.value.trim()) throw new Error(kind === "note" ? "A note needs text." : "A cancellation needs its reason.");
      await api.act(id, kind, text.value.trim());
      text.value = "";
      said.textContent = "Published. It takes effect when the log has it.";
    } catch (error) {
      said.textContent = error.message;
    }
  };
  const button = (kind, label, more = "") => h("button", { type: "button", class: more, id: `act-${kind}`, onclick: () => send(kind) }, label);
  return h(
    "div", { class: "say" }, h("label", { for: "say" }, "Say about this call"), text,
    h("div", { class: "buttons" }, button("ack", "Acknowledge", "primary"), button("note", "Add note"), button("cancel", "Cancel call", "danger")),
  );
}
