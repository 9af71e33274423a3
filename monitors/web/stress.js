// Early warning: who falls at which shock, and who is nearest to a call.

import { api, repeat } from "./api.js";
import { accountLink, amount, difference, empty, h, panel, percent, refresh, rounded, table, tag } from "./dom.js";
import { records } from "./records.js";

const SECONDS = 5;
const NEAREST = 50;
const NAMED = 12; // accounts a shock

/** Show the screen until `signal` aborts. */
export function stress(main, signal) {
  const ladder = h("div");
  const nearest = h("div");
  main.append(
    h("h1", { class: "hidden" }, "Stress and early warning"),
    panel("ladder", "Who falls at which shock", ladder),
    panel("nearest", "Nearest to a call", h("p", { class: "muted" }, "Accounts in WATCH by utilization: equity over maintenance is what they can still lose."), nearest),
  );
  const load = async () => {
    const { available, data } = await api.ladder();
    if (!signal.aborted) refresh(ladder, ...(available ? ladderParts(data) : [empty("No ladder has been published yet.", "It appears when a worker has worked one out.")]));
  };
  const watch = async () => {
    const { accounts } = await api.accounts({ status: "WATCH", sort: "utilization", limit: NEAREST });
    if (!signal.aborted) refresh(nearest, accounts.length ? nearestTable(accounts) : empty("No account is in WATCH."));
  };
  repeat(SECONDS, signal, load, (error) => refresh(ladder, empty("The ladder cannot be read.", error.message)));
  repeat(SECONDS, signal, watch, (error) => refresh(nearest, empty("The accounts cannot be read.", error.message)));
}

function ladderParts({ shocks = [], ...others }) {
  const most = Math.max(1, ...shocks.map((one) => one.calls));
  const bar = (one) => {
    const whole = h("meter", { min: "0", max: most, value: one.calls, "aria-label": `${one.calls} accounts` });
    return h("span", { class: "metered" }, whole, rounded(one.calls));
  };
  const names = (one) => {
    const ids = one.accounts ?? [];
    const more = one.calls - Math.min(ids.length, NAMED);
    return h("span", { class: "names" }, ids.slice(0, NAMED).map(accountLink), more > 0 ? h("span", { class: "muted" }, `and ${rounded(more)} more`) : null);
  };
  const rungs = shocks.length === 0 ? empty("The ladder has no shock.") : table("Shocks and the accounts that they bring into call", [
    ["Shock", (one) => h("strong", {}, one.name)],
    ["New calls", bar],
    ["Amount USD", (one) => amount(one.amount_usd), true],
    ["Accounts", names],
  ], shocks);
  return [rungs, ...records(others)];
}

const nearestTable = (rows) =>
  table("Accounts nearest to a call", [
    ["Account", (one) => accountLink(one.account)],
    ["Customer", (one) => one.customer],
    ["Pool", (one) => one.pool],
    ["Status", (one) => tag(one.status)],
    ["Used", (one) => percent(one.utilization), true],
    ["Equity over maintenance", (one) => difference(one.equity, one.maintenance), true],
    ["Equity", (one) => amount(one.equity), true],
    ["Maintenance", (one) => amount(one.maintenance), true],
    ["Ccy", (one) => one.currency],
  ], rows);
