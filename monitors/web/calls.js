// Margin calls: the open ones, first due first, and the life of one with what was said about it.

import { api, repeat } from "./api.js";
import { accountLink, amount, empty, h, moment, panel, refresh, rounded, select, table, tag, utc } from "./dom.js";

const PAGE = 200;
const MOST = 1000; // the API gives so many at once
const SECONDS = 2;
const STATES = ["ISSUED", "PART_MET", "OVERDUE", "ESCALATED", "RESTRICTED"];
const SAID = { ack: "acknowledged", note: "noted", cancel: "cancelled" };
const kept = { text: "", state: "", unseen: false };

/** Show open calls, and the call `id` beside them, until `signal` aborts. */
export function calls(main, signal, id, session) {
  const list = h("div");
  const shown = h("span", { class: "muted", role: "status" });
  let limit = PAGE;
  let found = { calls: [], open: 0 };
  const draw = () => {
    const chosen = found.calls.filter(matches);
    shown.textContent = `${rounded(chosen.length)} of ${rounded(found.open)} open`;
    refresh(list, chosen.length ? callTable(chosen, id) : empty(found.open ? "No call fits the filter." : "No open calls."), more());
  };
  const more = () =>
    found.calls.length < found.open && limit < MOST
      ? h("button", { type: "button", data: { key: "more" }, onclick: () => { limit = MOST; load().catch(() => {}); } }, `Show up to ${rounded(MOST)}`)
      : h("span");
  const load = async () => {
    found = await api.calls({ limit });
    if (!signal.aborted) draw();
  };
  const set = (field, value) => {
    kept[field] = value;
    draw();
  };
  const detail = h("div", { class: "detail" });
  main.append(
    h("div", { class: id ? "split has-detail" : "split" },
      panel("open-calls", "Open calls, first due first",
        h("form", { class: "bar", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
          h("label", { class: "field" }, h("span", {}, "Filter"), h("input", { id: "filter", type: "search", placeholder: "account, customer or pool", value: kept.text, maxlength: "64", spellcheck: "false", oninput: (event) => set("text", event.target.value.trim().toLowerCase()) })),
          select("by-state", "State", [["", "any"], ...STATES.map((one) => [one, one.replace("_", " ")])], (event) => set("state", event.target.value), kept.state),
          h("label", { class: "check" }, h("input", { type: "checkbox", checked: kept.unseen, onchange: (event) => set("unseen", event.target.checked) }), " not acknowledged"),
          shown),
        list),
      detail),
  );
  repeat(SECONDS, signal, load, (error) => refresh(list, empty("The calls cannot be read.", error.message)));
  if (id) life(detail, signal, id, session);
}

const matches = (one) =>
  (!kept.state || one.state === kept.state) && (!kept.unseen || !one.acknowledged_by) && (!kept.text || `${one.account} ${one.customer} ${one.pool}`.toLowerCase().includes(kept.text));

const path = (id) => `#/calls/${encodeURIComponent(id)}`;

const callTable = (rows, chosen) =>
  table("Open margin calls by due time", [
    ["Due, UTC", (one) => utc(one.due_ns)],
    ["Left", (one) => moment(one.due_ns)],
    ["Account", (one) => h("a", { href: path(one.id), class: "id" }, one.account)],
    ["Pool", (one) => one.pool],
    ["State", (one) => tag(one.state)],
    ["Amount", (one) => amount(one.amount), true],
    ["Received", (one) => amount(one.received), true],
    ["Ccy", (one) => one.currency],
    ["Issued", (one) => moment(one.issued_ns)],
    ["Acknowledged by", (one) => one.acknowledged_by],
    ["Notes", (one) => one.notes.length || "", true],
  ], rows, { row: (element, one) => {
    element.dataset.key = one.id;
    if (one.id === chosen) element.setAttribute("aria-current", "true");
  } });

/** One call: its figures, its trail, and for an operator what can be said about it. */
function life(host, signal, id, session) {
  const about = h("div");
  const said = h("p", { class: "notice", role: "status", hidden: true });
  const say = session.role === "operator" ? actions(id, said) : h("p", { class: "muted" }, "An operator can acknowledge, note and cancel.");
  host.append(panel("call", "Call", about, say, said));
  const load = async () => {
    const one = await api.call(id);
    if (signal.aborted) return;
    say.hidden = !STATES.includes(one.state);
    refresh(about, ...lifeOf(one));
  };
  repeat(SECONDS, signal, load, (error) => refresh(about, empty("The call cannot be read.", error.message)));
}

const lifeOf = (one) => [
  h("div", { class: "title" }, h("h3", {}, one.id), tag(one.state), h("a", { class: "quiet", href: "#/calls", "aria-label": "Close this call" }, "✕")),
  h("p", {}, accountLink(one.account), ` · customer ${one.customer} · pool ${one.pool}`),
  h("dl", { class: "figures" }, [["Amount", amount(one.amount)], ["Received", amount(one.received)], ["Currency", one.currency], ["Due, UTC", [utc(one.due_ns), " ", h("span", { class: "muted" }, moment(one.due_ns))]]].map(([label, shown]) => h("div", {}, h("dt", {}, label), h("dd", {}, ...[shown].flat())))),
  h("h4", {}, "Trail"),
  h("ol", { class: "trail" }, trail(one).map(([ns, ...what]) => h("li", {}, moment(ns), h("span", {}, ...what)))),
];

function trail(one) {
  const steps = [[one.issued_ns, `issued, due `, moment(one.due_ns)]];
  for (const note of one.notes) steps.push([note.ts_ns, h("strong", {}, note.user), ` ${SAID[note.kind] ?? note.kind}`, note.text ? `: ${note.text}` : ""]);
  steps.push([one.ts_ns, "now ", tag(one.state)]);
  return steps;
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
