// The overview: counts, inputs that are old, sums by pool, the newest changes, and the live table of all accounts.

import { accountsTable } from "./accounts.js";
import { api, live, repeat } from "./api.js";
import { FIRST, OUT, QUALITIES, STATUSES, accountLink, amount, compact, distance, empty, h, moment, panel, percent, poolNames, refresh, rounded, select, table, tag } from "./dom.js";
import { Grid } from "./grid.js";

const GROUPS = [["", "no groups"], ["customer", "customer"], ["pool", "pool"], ["status", "status"]];
const CHANGES = 40;
const STALE_NAMED = 6; // instruments
const ALL = { status: "", quality: "", pool: "", customer: "", search: "", group: "" };
const kept = { ...ALL };

/** A link to the table of a customer's accounts. */
export const customerLink = (id) => h("a", { href: "#/overview", data: { key: id }, onclick: () => Object.assign(kept, ALL, { customer: id }) }, id);

/** Show the screen until `signal` aborts. */
export function overview(main, signal) {
  const counts = h("div", { class: "counts" });
  const stale = h("p", { class: "notice", id: "stale", hidden: true });
  const pools = h("div");
  const changes = h("ol", { class: "changes" });
  const shown = h("span", { class: "muted", id: "shown", role: "status" });
  const host = h("div", { class: "grid-host" }, h("p", { class: "empty", id: "loading" }, "Loading all accounts …"));
  const bar = h("form", { class: "bar", "aria-label": "Filter and group", onsubmit: (event) => event.preventDefault() });
  main.append(
    h("h1", { class: "hidden" }, "Overview"),
    stale,
    h("div", { class: "at-a-glance" }, counts, panel("pools", "Pools", pools), panel("changes", "Newest changes", changes)),
    h("section", { class: "panel accounts", "aria-label": "Accounts" }, bar, host),
  );

  let grid = null;
  const change = (field, value) => {
    kept[field] = value;
    drawBar();
    apply();
  };
  const apply = () => grid?.show({ filters: filters(), search: kept.search, group: kept.group });
  const drawBar = () => fillBar(bar, shown, change);
  const state = () => {
    if (live.state === null) return;
    drawCounts(counts, live.state, change);
    drawStale(stale, live.state.stale);
    refresh(pools, poolTable(live.state.pools));
    if (bar.dataset.pools !== poolNames(live.state).join()) drawBar();
  };
  const alerts = () => refresh(changes, ...newest());
  drawBar();
  state();
  alerts();
  live.addEventListener("state", state, { signal });
  live.addEventListener("alerts", alerts, { signal });

  const open = (id) => (location.hash = `#/account/${encodeURIComponent(id)}`);
  const group = (field, value) => {
    kept.group = "";
    change(field, value);
  };
  const counted = (count, grouping) => {
    const isLoading = count === 0 && live.state?.state.accounts > 0 && !filters().length && !kept.search;
    shown.textContent = isLoading ? "loading …" : `${rounded(count)} ${grouping ? "groups" : "accounts"}`;
  };
  accountsTable().then(
    (all) => {
      if (signal.aborted) return;
      grid = new Grid(all, { open, group, counted });
      host.replaceChildren(grid.element);
      signal.addEventListener("abort", () => grid.close(), { once: true });
      apply();
    },
    (error) => {
      console.warn(error);
      if (!signal.aborted) plainList(host, shown, signal);
    },
  );
}

const filters = () => ["status", "quality", "pool", "customer"].filter((name) => kept[name]).map((name) => [name, "==", kept[name]]);

function fillBar(bar, shown, change) {
  const names = poolNames(live.state);
  bar.dataset.pools = names.join();
  const any = (values) => [["", "any"], ...values.map((value) => [value, value])];
  const choose = (field) => (event) => change(field, event.target.value);
  let timer = 0;
  const typed = (event) => {
    clearTimeout(timer);
    const text = event.target.value.trim();
    timer = setTimeout(() => change("search", text), 250);
  };
  const old = bar.querySelector("#filter");
  const filter = old?.closest("label") ?? h(
    "label", { class: "field" }, h("span", {}, "Filter"),
    h("input", { id: "filter", type: "search", placeholder: "account or customer", value: kept.search, oninput: typed, spellcheck: "false", maxlength: "64" }),
  );
  const parts = [
    filter,
    select("by-status", "Status", any(STATUSES), choose("status"), kept.status),
    select("by-quality", "Quality", any(QUALITIES), choose("quality"), kept.quality),
    select("by-pool", "Pool", any(names), choose("pool"), kept.pool),
    select("by-group", "Group by", GROUPS, choose("group"), kept.group),
    kept.customer ? h("button", { type: "button", class: "chip", onclick: () => change("customer", "") }, `customer ${kept.customer} ✕`) : null,
    shown,
  ].filter((part) => part !== null);
  const focused = document.activeElement?.id;
  bar.replaceChildren(...parts);
  if (focused && bar.querySelector(`#${focused}`)) bar.querySelector(`#${focused}`).focus();
}

function drawCounts(host, { by_status, by_quality, calls_open, savings, state }, change) {
  const cell = (name, field, count) =>
    h(
      "button",
      { type: "button", class: "count", "aria-pressed": String(kept[field] === name), data: { key: name }, title: `Show only ${name}`, onclick: () => change(field, kept[field] === name ? "" : name) },
      h("span", { class: "big" }, rounded(count ?? 0)), tag(name),
    );
  refresh(
    host,
    h("div", { class: "count-group", role: "group", "aria-label": "Accounts by status" }, STATUSES.map((name) => cell(name, "status", by_status[name]))),
    h("div", { class: "count-group", role: "group", "aria-label": "Accounts by quality" }, QUALITIES.map((name) => cell(name, "quality", by_quality[name]))),
    h(
      "div", { class: "count-group" },
      h("a", { class: "count", href: "#/calls" }, h("span", { class: "big" }, rounded(calls_open)), h("span", { class: "muted" }, "open calls")),
      h("span", { class: "count" }, h("span", { class: "big" }, rounded(state.accounts)), h("span", { class: "muted" }, "accounts")),
      savings.map((one) => h("a", { class: "count", href: "#/cross-margin", title: `${one.saved} ${one.currency} by ${rounded(one.agreements)} agreements in force` }, h("span", { class: "big" }, compact(one.saved)), h("span", { class: "muted" }, `${one.currency} cross-margin saves`))),
    ),
  );
}

/** The instruments that make accounts STALE or UNPRICED, the oldest price first. */
function drawStale(host, stale) {
  const price = (one) => (one.mark_ns === "0" ? " no price" : [" price ", moment(one.mark_ns)]);
  const named = stale.slice(0, STALE_NAMED).map((one) => h("span", { title: one.type }, h("span", { class: "id" }, one.instrument), " ", tag(one.quality), price(one)));
  const more = stale.length > STALE_NAMED ? h("span", { class: "muted" }, "and more") : null;
  host.hidden = stale.length === 0;
  refresh(host, h("strong", {}, "Inputs that are old or missing: "), named, more);
}

const poolTable = (rows) =>
  rows.length === 0
    ? empty("No accounts yet.")
    : table("Sums by pool and currency", [
        ["Pool", (row) => row.pool, false, FIRST],
        ["Ccy", (row) => row.currency, false, FIRST],
        ["Accounts", (row) => rounded(row.accounts), true],
        ["Equity", (row) => rounded(row.equity), true],
        ["Initial", (row) => rounded(row.initial), true],
        ["Maintenance", (row) => rounded(row.maintenance), true],
        ["Shortfall", (row) => rounded(row.call), true, FIRST],
        ["Excess USD", (row) => rounded(row.excess_usd), true, FIRST],
      ], rows);

const newest = () => {
  if (live.alerts.length === 0) return [empty("No change since this page was opened.")];
  return live.alerts.slice(0, CHANGES).map((one) =>
    h("li", {}, moment(one.ts_ns), accountLink(one.account), h("span", {}, tag(one.from || "–"), " → ", tag(one.to)), Number(one.amount) ? h("span", { class: "right" }, amount(one.amount), ` ${one.currency ?? ""}`) : null),
  );
};

/** Without WebAssembly: the worst accounts by the API, exact and plain. */
function plainList(host, shown, signal) {
  shown.textContent = "the 100 of the lowest excess: this browser cannot run the live table";
  const load = async () => {
    const query = Object.fromEntries(filters().map(([name, , value]) => [name, value]));
    const { accounts } = await api.accounts({ ...query, sort: "excess", limit: 100 });
    const money = (name, heading = name[0].toUpperCase() + name.slice(1)) => [heading, (row) => amount(row[name]), true];
    refresh(host, table("Accounts of the lowest excess", [
      ["Account", (row) => accountLink(row.account)], ["Customer", (row) => row.customer, false, OUT], ["Pool", (row) => row.pool, false, OUT],
      ["Status", (row) => tag(row.status)], ["Quality", (row) => tag(row.quality)], ["Used", (row) => percent(row.utilization), true],
      ["Distance to call", (row) => distance(row.distance, row.distance_factor), true],
      money("equity"), money("initial"), money("maintenance"), money("excess"), money("call", "Shortfall"), ["Ccy", (row) => row.currency],
    ], accounts));
  };
  repeat(2, signal, load, (error) => refresh(host, empty("The list cannot be read.", error.message)));
}
