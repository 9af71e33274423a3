// Early warning: who falls at which shock, what will be called at the close and falls due when, who is nearest to a call.

import { api, repeat } from "./api.js";
import { FIRST, OUT, accountLink, amount, bar, difference, distance, empty, factorName, h, moment, panel, percent, refresh, rounded, table, tag, utc } from "./dom.js";

const SECONDS = 5;
const NEAREST = 50;
const NAMED = 6; // accounts a shock
const MOVES = 2; // the worst of a pool
const UNCHANGED = "unchanged"; // this name and the windows' as in engine/warning.py
const WINDOWS = [["1h", "Within 1 h, or overdue"], ["4h", "1 to 4 h"], ["24h", "4 to 24 h"], ["later", "Later"]];

/** Show the screen until `signal` aborts. */
export function stress(main, signal) {
  const [about, ladder, forecast, windows, hours, regimes, nearest] = Array.from({ length: 7 }, () => h("div"));
  main.append(
    h("h1", { class: "hidden" }, "Stress and early warning"),
    panel("ladder", "Who falls at which shock", about, ladder),
    panel("forecast", "Calls expected at the close, USD", h("p", { class: "muted" }, "Beyond what is called: if nothing moves, and after the worst moves of one factor by its standard deviation until the close, a day ahead at most."), forecast),
    h("div", { class: "columns" },
      panel("regimes", "Volatility regimes of rules", regimes),
      panel("liquidity", "Open calls by when they are due", windows, hours)),
    panel("nearest", "Nearest to a call", h("p", { class: "muted" }, "Accounts not in a call by utilization; equity over maintenance is what they can still lose."), nearest),
  );
  const load = async () => {
    const { data } = await api.ladder();
    if (signal.aborted) return;
    if (data === null) return refresh(ladder, empty("No worker has looked ahead yet.", "It does so every few seconds."));
    refresh(about, h("p", { class: "muted" }, "worked out ", moment(data.ts_ns), ` · below maintenance now: ${rounded(data.short)} · unpriced and left out: ${rounded(data.unpriced)}`, data.unvalued.length ? ` · without a price: ${data.unvalued.map(factorName).join(", ")}` : ""));
    refresh(ladder, ladderTable(data.steps));
    refresh(forecast, forecastTable(data));
    refresh(windows, windowTable(data.due_usd));
    refresh(hours, hourTable(data.due));
    refresh(regimes, regimeTable(data.regimes));
  };
  const watch = async () => {
    const calm = ["WATCH", "OK"];
    const found = await Promise.all(calm.map((status) => api.accounts({ status, sort: "utilization", limit: NEAREST })));
    const accounts = found.flatMap((one) => one.accounts).filter((one) => one.utilization !== "" && calm.includes(one.status)); // it may have moved
    accounts.sort((a, b) => Number(b.utilization) - Number(a.utilization));
    if (!signal.aborted) refresh(nearest, accounts.length ? nearestTable(accounts.slice(0, NEAREST)) : empty("Every account is in a call."));
  };
  repeat(SECONDS, signal, load, (error) => refresh(ladder, empty("It cannot be read.", error.message)));
  repeat(SECONDS, signal, watch, (error) => refresh(nearest, empty("The accounts cannot be read.", error.message)));
}

function ladderTable(steps) {
  const most = Math.max(...steps.map((one) => one.accounts));
  const largest = Math.max(...steps.map((one) => Number(one.call_usd)));
  const first = ({ accounts, first: named }) => {
    const more = accounts - Math.min(named.length, NAMED);
    const links = named.slice(0, NAMED).map(callLink);
    return h("span", { class: "names" }, links, more > 0 ? h("span", { class: "muted" }, `and ${rounded(more)} more`) : null);
  };
  return table("Shocks and the accounts that they bring below maintenance", [
    ["Shock", (one) => h("strong", { class: "id" }, one.shock)],
    ["Accounts that fall", (one) => bar(one.accounts, most, rounded(one.accounts))],
    ["Called, USD", (one) => bar(Number(one.call_usd), largest, amount(one.call_usd))],
    ["The largest calls", first],
  ], steps);
}

function forecastTable({ forecast, forecast_first, close_hours }) {
  const rows = Object.entries(forecast).map(([pool, { [UNCHANGED]: still, ...moves }]) => {
    const found = worst(moves, still ?? 0);
    return { pool, still: still ?? "0.00", found, first: forecast_first[pool]?.[found[0]?.[0] ?? UNCHANGED] ?? [] };
  });
  if (rows.length === 0) return empty("No pool has an account.");
  const move = (at) => [[at ? "Next" : "Worst move", (row) => (row.found[at] ? factorName(row.found[at][0]) : ""), false, at ? undefined : FIRST], ["Called", (row) => amount(row.found[at]?.[1] ?? ""), true, at ? undefined : FIRST]];
  return table("Forecast of calls by pool", [
    ["Pool", (row) => row.pool, false, FIRST],
    ["Close in", (row) => `${close_hours[row.pool]} h`, true],
    ["Nothing moves", (row) => amount(row.still), true, FIRST],
    ...Array.from({ length: MOVES }, (_, at) => move(at)).flat(),
    ["The largest calls", (row) => h("span", { class: "names" }, row.first.map(callLink))],
  ], rows);
}
const callLink = (one) => h("span", { title: `would be called for ${one.call_usd} USD` }, accountLink(one.account));
const worst = (moves, still) => Object.entries(moves).filter(([, usd]) => Number(usd) > Number(still)).sort(([, a], [, b]) => Number(b) - Number(a)).slice(0, MOVES);

function windowTable(currencies) {
  const rows = Object.entries(currencies);
  if (rows.length === 0) return empty("No call is open.");
  return table("What open calls still ask for, in USD, by currency and time left", [["In USD", ([currency]) => currency], ...WINDOWS.map(([name, label]) => [label, ([, found]) => amount(found[name] ?? ""), true])], rows);
}

function hourTable(currencies) {
  const rows = Object.entries(currencies).flatMap(([currency, hours]) => Object.entries(hours).map(([ns, text]) => ({ currency, ns, text })));
  if (rows.length === 0) return h("span");
  rows.sort((a, b) => (BigInt(a.ns) < BigInt(b.ns) ? -1 : 1));
  const most = Object.groupBy(rows, (one) => one.currency);
  const largest = (one) => Math.max(...most[one.currency].map((other) => Number(other.text)));
  return table("What open calls still ask for by hour", [["Due by, UTC", (one) => utc(one.ns)], ["", (one) => moment(one.ns)], ["Ccy", (one) => one.currency], ["Amount", (one) => bar(Number(one.text), largest(one), amount(one.text))]], rows);
}

const regimeTable = (regimes) =>
  Object.keys(regimes).length === 0 ? empty("No rule in force has a regime.") : table("Volatility regimes", [["Rule", ([rule]) => rule], ["Regime", ([, regime]) => regime]], Object.entries(regimes));

const nearestTable = (rows) =>
  table("Accounts nearest to a call", [
    ["Account", (one) => accountLink(one.account), false, FIRST],
    ["Customer", (one) => one.customer, false, OUT],
    ["Pool", (one) => one.pool, false, OUT],
    ["Status", (one) => tag(one.status), false, OUT],
    ["Used", (one) => percent(one.utilization), true, FIRST],
    ["Distance to call", (one) => distance(one.distance, one.distance_factor), true],
    ["Equity over maintenance", (one) => difference(one.equity, one.maintenance), true, FIRST],
    ["Equity", (one) => amount(one.equity), true, OUT],
    ["Maintenance", (one) => amount(one.maintenance), true, OUT],
    ["Ccy", (one) => one.currency, false, FIRST],
  ], rows);
