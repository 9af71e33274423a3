// One account: its figures, why it requires what it does, what it holds, how its customer would stand otherwise.

import { api, repeat } from "./api.js";
import { moneyColumns } from "./calls.js";
import { accountLink, amount, distance, empty, grouped, h, moment, panel, percent, refresh, table, tag, timeOfDay } from "./dom.js";
import { customerLink } from "./overview.js";
import { Plot } from "./plot.js";

const SECONDS = 3;
const FIGURES = [["equity", "Equity"], ["initial", "Initial"], ["maintenance", "Maintenance"], ["excess", "Excess"], ["call", "Shortfall"]];

/** Show the account until `signal` aborts. */
export function account(main, signal, id) {
  const head = h("div", { class: "account-head" }, h("h1", {}, id), empty("Loading …"));
  const problem = h("p", { class: "notice", role: "status", hidden: true });
  const sections = h("div", { class: "sections" });
  const plot = new Plot(`Equity and requirement of ${id}`, [["equity", "--accent"], ["initial", "--watch", [6, 4]], ["maintenance", "--call"]]);
  const history = panel("history", "Seen since this account was opened", plot.element);
  const calls = h("div", { class: "stack" });
  const body = h("div", { class: "columns", hidden: true }, history, panel("account-calls", "Open calls", calls), sections);
  signal.addEventListener("abort", () => plot.close());
  main.append(head, problem, body);

  const load = async () => {
    const [found, { calls: called }] = await Promise.all([api.account(id), api.calls({ account: id, limit: 1000 })]);
    if (signal.aborted) return;
    body.hidden = false;
    problem.textContent = found.problem;
    problem.hidden = !found.problem;
    refresh(head, ...heading(found));
    refresh(calls, callTable(called));
    refresh(sections, ...parts(found));
  };
  const follow = async () => {
    if (body.hidden) return;
    const { points } = await api.history(id);
    if (signal.aborted || points.length === 0) return;
    plot.draw([points.map((one) => one.ts_ns / 1e9), ...["equity", "initial", "maintenance"].map((name) => points.map((one) => one[name]))]);
  };
  const failed = (error) => {
    if (error.status !== 404) return refresh(head, h("h1", {}, id), empty("It cannot be read.", error.message));
    body.hidden = problem.hidden = true;
    refresh(head, h("h1", {}, id), empty("There is no account of that name.", "It is shown here once there is one."), h("p", {}, h("a", { href: "#/overview" }, "All accounts")));
  };
  repeat(SECONDS, signal, load, failed);
  repeat(1, signal, follow, () => {});
}

const heading = ({ figures: one, market_ns, book_ns, explain }) => [
  h("div", { class: "title" }, h("h1", {}, one.account), tag(one.status), tag(one.quality), h("a", { class: "button", href: `#/what-if/${encodeURIComponent(one.account)}` }, "What-if")),
  h("p", { class: "muted" }, "customer ", customerLink(one.customer), ` · pool ${one.pool} · ${one.currency} · figures `, moment(one.ts_ns), ...(market_ns ? [" · market ", moment(market_ns)] : []), ...(book_ns ? [" · book ", moment(book_ns)] : [])),
  one.quality !== "FRESH" && explain?.quality_because.length ? h("p", { class: "notice" }, `${one.quality} because: ${explain.quality_because.join("; ")}.`) : null,
  h(
    "dl", { class: "figures" },
    FIGURES.map(([name, label]) => h("div", {}, h("dt", {}, label), h("dd", {}, amount(one[name])))),
    h("div", {}, h("dt", {}, "Used"), h("dd", { class: "number" }, percent(one.utilization) || "no equity")),
    h("div", {}, h("dt", {}, "Distance to call"), h("dd", { class: "number" }, distance(one.distance, one.distance_factor) || "none near")),
  ),
];

function parts({ explain, positions, holdings, exposures, figures, market_ns }) {
  const found = [];
  const on = `on the market of ${timeOfDay(market_ns)}`;
  if (explain?.requirement) found.push(requirement(explain.requirement, figures, on), ...explain.requirement.portfolios.flatMap(tails));
  found.push(positionPanel(positions));
  if (explain?.equity) found.push(equity(explain.equity, figures, on));
  else if (holdings.length) found.push(panel("holdings", "Collateral held", table("Collateral held", [["Asset", (one) => one.asset], ["Quantity", (one) => amount(one.quantity), true]], holdings)));
  found.push(exposurePanel(exposures));
  if (explain?.views) found.push(views(explain));
  if (explain?.cross_margin) found.push(cross(explain.cross_margin));
  return found;
}

const positionPanel = (positions) =>
  panel("positions", "Positions", positions.length === 0 ? empty("No positions.") : table("Positions", [
    ["Instrument", (one) => one.instrument],
    ["Quantity", (one) => amount(one.quantity), true],
    ["Mark", (one) => grouped(one.mark ?? "unpriced"), true],
    ["Value", (one) => amount(one.value ?? ""), true],
    ["Cost", (one) => amount(one.cost), true],
    ["Realized", (one) => amount(one.realized), true],
    ["Ccy", (one) => one.currency],
  ], positions));

const exposurePanel = (exposures) =>
  panel("exposures", "Exposures", exposures.length === 0 ? empty("No exposures.") : table("Exposures", [["Factor", (one) => one.factor], ["Net", (one) => amount(one.amount), true]], exposures));

function requirement(found, figures, on) {
  const rows = [
    ...found.alone.map((one) => [one.rule || "no rule in force", `${grouped(one.quantity)} ${one.instrument}`, one.initial, one.maintenance, one.currency]),
    ...found.portfolios.flatMap(portfolioRows),
    ["", on, found.now?.initial ?? "not known", found.now?.maintenance ?? "not known", figures.currency],
    ["", "now", figures.initial, figures.maintenance, figures.currency],
  ];
  const body = table("Lines of the requirement", [
    ["Rule", (row) => row[0]], ["Line", (row) => row[1]], ["Initial", (row) => amount(row[2]), true], ["Maintenance", (row) => amount(row[3]), true], ["Ccy", (row) => row[4]],
  ], rows, { row: (element, row) => row[0] === "" && element.classList.add("sum") });
  return panel("requirement", "Requirement, line by line", body, ...found.behind.map((why) => h("p", { class: "muted" }, why)));
}

function portfolioRows(one) {
  if (one.problem) return [[one.rule, one.problem, "", "", one.currency]];
  const lines = Object.entries(one.lines).filter(([, text]) => /[1-9]/.test(text));
  return [...lines.map(([name, text]) => [one.rule, name.toLowerCase().replaceAll("_", " "), "", text, one.currency]), [one.rule, "all lines", one.initial, one.maintenance, one.currency]];
}

function tails(one) {
  if (one.problem || one.tails.length === 0) return [];
  const worst = one.tails.flatMap((tail) => tail.worst.map((loss) => ({ of: tail.of, ...loss, weight: tail.taken.find((taken) => taken.scenario === loss.scenario)?.weight ?? "" })));
  const scenarios = table(`Worst scenarios of ${one.rule}`, [
    ["Of", (row) => row.of], ["Scenario", (row) => row.scenario], ["Loss", (row) => amount(row.loss), true], ["Weight in the line", (row) => row.weight, true],
  ], worst);
  const adds = table(`Contributions to the risk line of ${one.rule}`, [
    ["What", (row) => row.name], ["Kind", (row) => row.kind], ["Adds", (row) => amount(row.loss), true],
  ], one.contributions);
  const note = h("p", { class: "muted" }, `Set ${one.scenarios} (${one.scenarios_hash.slice(0, 12)}). The contributions sum to the risk line, ${grouped(one.lines.RISK)} ${one.currency}.`);
  return [panel(`tails-${one.rule}`, `Where the risk of ${one.rule} comes from`, scenarios, adds, note)];
}

const limitedBy = (row) => (/[1-9]/.test(row.over_limit ?? "") ? `limited by ${row.limited_by}` : "");

const equity = (found, figures, on) =>
  panel("equity", `Equity, in ${found.currency}`, table("Equity, line by line", [
    ["Asset", (row) => row.asset], ["Held", (row) => amount(row.held), true], ["Haircut", (row) => amount(row.haircut), true], ["Over limit", (row) => amount(row.over_limit), true],
    ["Counts", (row) => amount(row.margin), true], [`Worth ${found.currency}`, (row) => amount(row.worth), true], ["Note", (row) => row.reason || limitedBy(row)],
  ], [
    ...found.collateral,
    ...found.positions.map((one) => ({ asset: `positions in ${one.currency}`, margin: one.amount, worth: one.worth })),
    { asset: on, worth: found.now ?? "not known", isSum: true },
    { asset: "now", worth: figures.equity, isSum: true },
  ], { row: (element, row) => row.isSum && element.classList.add("sum") }));

const NAMES = { silo: "Each account alone", cross: "With cross-margin", unified: "All as one portfolio" };

function views({ views: all, unified_by }) {
  const cards = all.map((one) =>
    h(
      "article", { class: "view" },
      h("h3", {}, NAMES[one.view] ?? one.view), h("p", { class: "legal" }, one.status.replace("_", " ").toLowerCase()),
      h("dl", {}, ...[["Requires", one.requirement], ["Saves", one.saving], ["Deficit", one.deficit], ["Trapped excess", one.trapped]].flatMap(([label, text]) => [h("dt", {}, label), h("dd", {}, amount(text || "–"))])),
      one.blocked.length ? h("ul", { class: "reasons", "aria-label": "What blocks it" }, one.blocked.map((why) => h("li", {}, why))) : null,
    ),
  );
  return panel("views", "The customer three ways", h("div", { class: "views" }, cards), h("p", { class: "muted" }, `Maintenance of all accounts of the customer. Unified: ${unified_by}.`));
}

function cross(one) {
  const houses = table("Both houses of the agreement", [
    ["House", (row) => row.house], ["Treasury", (row) => amount(row.treasury), true], ["Futures", (row) => amount(row.futures), true], ["Both", (row) => amount(row.both), true], ["Saving", (row) => percent(row.saving), true], ["Ccy", (row) => row.currency],
  ], one.houses);
  const why = one.reasons.length ? h("ul", { class: "reasons" }, one.reasons.map((reason) => h("li", {}, reason))) : null;
  const barred = one.positions.filter((position) => position.reasons.length);
  return panel(
    "cross", `Cross-margin agreement ${one.agreement}`,
    h("p", {}, one.in_force ? `In force by rule ${one.rule}: saves ${percent(one.saving)} (${one.basis.toLowerCase().replaceAll("_", " ")}). ` : `Not in force (rule ${one.rule}). `, "Accounts ", accountLink(one.treasury_account), " and ", accountLink(one.futures_account), "."),
    why, houses,
    barred.length ? h("ul", { class: "reasons", "aria-label": "Positions left out" }, barred.map((position) => h("li", {}, `${position.account} ${position.instrument}: ${position.reasons.join("; ")}`))) : null,
  );
}

const callTable = (calls) =>
  calls.length === 0 ? empty("None.") : table("Open calls of the account", [
    ["Call", (one) => h("a", { href: `#/calls/${encodeURIComponent(one.id)}`, class: "id" }, one.id)], ["State", (one) => tag(one.state)], ...moneyColumns(true), ["Left", (one) => moment(one.due_ns)], ["Acknowledged by", (one) => one.acknowledged_by],
  ], calls);
