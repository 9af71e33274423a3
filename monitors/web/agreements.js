// What cross-margin saves: all agreements in force by currency, and each agreement with its two legs.

import { api, live, repeat } from "./api.js";
import { OUT, accountLink, amount, count, countGroup, empty, h, panel, percent, refresh, rounded, select, table, tag } from "./dom.js";

const MOST = 1000; // the API gives so many at once
const SHOWN = 200; // rows; the filter looks at all
const SECONDS = 5;
const STATES = ["in force", "fallback", "not in force"];
const kept = { text: "", state: "" };

/** Show the screen until `signal` aborts. */
export function agreements(main, signal) {
  const counts = h("div", { class: "counts" });
  const list = h("div");
  const shown = h("span", { class: "muted", role: "status" });
  let found = { agreements: [], count: 0, by_state: {} };
  const draw = () => {
    const chosen = found.agreements.filter(matches);
    shown.textContent = `${rounded(chosen.length)} of ${rounded(found.count)} agreements${chosen.length > SHOWN ? `, the first ${SHOWN} shown` : ""}`;
    refresh(list, chosen.length ? agreementTable(chosen.slice(0, SHOWN)) : empty(found.count ? "No agreement fits the filter." : "No agreements."));
  };
  const tiles = () => refresh(counts, countGroup("Agreements by state", STATES.map((state) => count(rounded(found.by_state[state] ?? 0), tag(state)))), ...(live.state?.savings ?? []).map(saved));
  const load = async () => {
    found = await api.agreements({ limit: MOST, ...(kept.state ? { state: kept.state } : {}) });
    if (signal.aborted) return;
    tiles();
    draw();
  };
  main.append(
    h("h1", { class: "hidden" }, "Cross-margin"), counts,
    panel("agreements", "Cross-margin agreements: what each leg requires alone, and after the saving",
      h("form", { class: "bar", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
        h("label", { class: "field" }, h("span", {}, "Filter"), h("input", { id: "filter", type: "search", placeholder: "agreement, customer or account", value: kept.text, maxlength: "64", spellcheck: "false", oninput: (event) => { kept.text = event.target.value.trim().toLowerCase(); draw(); } })),
        select("by-state", "State", [["", "any"], ...STATES.map((one) => [one, one])], (event) => { kept.state = event.target.value; load().catch(() => {}); }, kept.state),
        shown),
      list),
  );
  repeat(SECONDS, signal, load, (error) => refresh(list, empty("The agreements cannot be read.", error.message)));
}

const saved = (one) =>
  countGroup(`Saved in ${one.currency}`, [
    count(rounded(Number(one.alone)), h("span", { class: "muted" }, `alone, ${one.currency}`)),
    count(rounded(Number(one.after)), h("span", { class: "muted" }, "after the saving")),
    count(rounded(Number(one.saved)), h("span", { class: "muted" }, `saved, ${percent(Number(one.alone) ? one.saved / one.alone : 0)}`)),
  ]);

const matches = (one) => !kept.text || `${one.agreement} ${one.customer} ${one.futures_account} ${one.treasury_account}`.toLowerCase().includes(kept.text);

const leg = (name, label) => [
  [label, (one) => accountLink(one[`${name}_account`])],
  ["Alone", (one) => amount(one[`${name}_alone`]), true],
  ["After", (one) => amount(one[`${name}_after`]), true],
  ["Ccy", (one) => one[`${name}_currency`]],
];

const agreementTable = (rows) =>
  table("Cross-margin agreements", [
    ["Agreement", (one) => h("span", { class: "id" }, one.agreement), false, OUT],
    ["State", (one) => tag(one.state)],
    ["Saves", (one) => (one.state === "not in force" ? "" : percent(one.saving)), true],
    ["Basis", (one) => one.basis.toLowerCase().replace("_", " "), false, OUT],
    ...leg("futures", "Futures account"),
    ...leg("treasury", "Treasury account"),
    ["Why not", (one) => h("span", { class: "why" }, one.reasons.join("; "))],
  ], rows);
