// What an account would require with other trades, orders or collateral: each scenario beside the account as it is.

import { Refused, api } from "./api.js";
import { accountLink, amount, difference, empty, h, moment, panel, percent, table, tag } from "./dom.js";

const KINDS = [["trades", "trade"], ["orders", "working order"], ["collateral", "collateral"]];
const MOST = 8; // columns that can be read side by side

/** Show the form for an account ("": none chosen yet). */
export function whatIf(main, signal, account) {
  const scenarios = [];
  const names = h("datalist", { id: "known-names" });
  const host = h("div", { class: "scenarios" });
  const said = h("p", { class: "notice", role: "status", hidden: true });
  const result = h("div", { class: "result", "aria-live": "polite" }, empty("Add what might happen, then work it out.", "Nothing here is sent to the log."));
  const id = h("input", { id: "what-if-account", value: account, required: true, maxlength: "64", spellcheck: "false", autocomplete: "off" });

  const add = () => {
    if (scenarios.length >= MOST) return;
    const one = scenario(String.fromCharCode(65 + scenarios.length));
    scenarios.push(one);
    host.append(one.element);
  };
  const tell = (words) => {
    said.textContent = words;
    said.hidden = !words;
  };
  const work = async (event) => {
    event.preventDefault();
    tell("");
    try {
      const found = await api.whatIf(id.value.trim(), scenarios.map((one) => one.read()));
      if (!signal.aborted) result.replaceChildren(...compared(found));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tell(error.message);
    }
  };
  const learn = async () => {
    names.replaceChildren();
    if (!id.value.trim()) return;
    try {
      const found = await api.account(id.value.trim());
      tell(found.problem);
      const known = [...found.positions.map((one) => one.instrument), ...found.holdings.map((one) => one.asset)];
      names.replaceChildren(...[...new Set(known)].map((name) => h("option", { value: name })));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      tell(error.message);
    }
  };
  id.addEventListener("change", learn);
  main.append(
    h("h1", { class: "hidden" }, "What-if"),
    panel("what-if", "What if …",
      h("form", { onsubmit: work },
        h("label", { class: "field" }, h("span", {}, "Account"), id), names, host,
        h("div", { class: "buttons" }, h("button", { type: "submit", class: "primary", id: "work-out" }, "Work it out"), h("button", { type: "button", onclick: add }, "Add a scenario"))),
      said),
    panel("compared", "Before and after", result),
  );
  add();
  learn();
}

/** A scenario's fields; read() gives it as the API takes it. */
function scenario(name) {
  const items = h("div", { class: "items" });
  const add = () => items.append(item());
  add();
  const element = h("fieldset", {}, h("legend", {}, `Scenario ${name}`), items, h("button", { type: "button", class: "quiet", onclick: add }, "+ another item"));
  const read = () => {
    const found = { name, trades: [], orders: [], collateral: [] };
    for (const row of items.children) {
      const [kind, what, qty, price] = [...row.querySelectorAll("select, input")].map((input) => input.value.trim());
      if (!what && !qty) continue;
      if (kind === "collateral") found.collateral.push({ asset: what, qty: exact(qty, `Scenario ${name}, quantity`) });
      else found[kind].push({ instrument: what, qty: exact(qty, `Scenario ${name}, quantity`), price: price ? exact(price, `Scenario ${name}, price`) : null });
    }
    return found;
  };
  return { element, read };
}

/** A number as people write it, as the API takes it: without + and thousands separators. */
function exact(text, where) {
  const plain = text.replace(/^\+/, "").replaceAll(",", "");
  if (!/^-?(0|[1-9]\d*)(\.\d+)?$/.test(plain)) throw new Refused(0, `${where}: found '${text}'; allowed: a number such as -1,000 or 0.25`);
  return plain;
}

function item() {
  const price = h("input", { name: "price", "aria-label": "Price", placeholder: "price: the mark", inputmode: "decimal", maxlength: "40", autocomplete: "off" });
  const follow = (event) => (price.disabled = event.target.value === "collateral");
  const row = h(
    "div", { class: "item" },
    h("select", { name: "kind", "aria-label": "Kind", onchange: follow }, KINDS.map(([value, text]) => h("option", { value }, text))),
    h("input", { name: "what", "aria-label": "Instrument or asset", placeholder: "instrument or asset", list: "known-names", maxlength: "64", spellcheck: "false", autocomplete: "off" }),
    h("input", { name: "qty", "aria-label": "Quantity, + bought", placeholder: "quantity, - sold", inputmode: "decimal", maxlength: "40", autocomplete: "off" }),
    price,
    h("button", { type: "button", class: "quiet", "aria-label": "Remove this item", onclick: () => row.remove() }, "✕"),
  );
  return row;
}

const FIGURES = [["equity", "Equity"], ["initial", "Initial"], ["maintenance", "Maintenance"], ["excess", "Excess"], ["call", "Call"]];

function compared({ account, currency, market_ns, before, scenarios }) {
  const good = scenarios.filter((one) => one.after !== null);
  const cell = (name) => (one) => [amount(one.after[name]), h("span", { class: "change" }, difference(one.after[name], before[name]))];
  const rows = [
    ["Status", (one) => tag(one.status), (one) => [tag(one.after.status)]],
    ["Quality", (one) => tag(one.quality), (one) => [tag(one.after.quality)]],
    ...FIGURES.map(([name, label]) => [label, (one) => amount(one[name]), cell(name)]),
    ["Used", (one) => percent(one.utilization), (one) => [h("span", {}, percent(one.after.utilization))]],
  ];
  const columns = [
    ["", ([label]) => h("strong", {}, label)],
    ["Before", ([, show]) => show(before), true],
    ...good.map((one) => [`After ${one.name}`, ([, , show]) => h("span", { class: "after" }, show(one)), true]),
  ];
  const problems = scenarios.filter((one) => one.after === null).map((one) => h("p", { class: "notice" }, `Scenario ${one.name}: ${one.problem}`));
  return [
    h("p", { class: "muted" }, accountLink(account), ` · ${currency} · marks of the market, `, moment(market_ns), ". Working orders are margined as if filled; status is by level."),
    ...problems,
    table("Before and after", columns, rows),
  ];
}
