// Elements, numbers and times. Text from data only ever becomes textContent.

const SHAPES = {
  OK: "●", WATCH: "▲", CALL: "■", OVERDUE: "◆", RESTRICTED: "⊘", DEBIT: "✖",
  FRESH: "●", STALE: "◔", UNPRICED: "○",
  ISSUED: "■", PART_MET: "◧", ESCALATED: "⇈", MET: "✔", COVERED: "✔", CANCELLED: "–", OVER: "–",
  MATCHED: "●", QUANTITY: "≠", MISSING_HERE: "◁", MISSING_THERE: "▷",
  "in force": "●", fallback: "◔", "not in force": "○",
};
export const STATUSES = ["OK", "WATCH", "CALL", "OVERDUE", "RESTRICTED", "DEBIT"];
export const QUALITIES = ["FRESH", "STALE", "UNPRICED"];

/** An element with properties (`class`, `data`, attributes, on-handlers) and children (nodes or text). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
  return element;
}

/** An exact decimal with its thousands grouped, without zeros past the cents; other text as it is. */
export function grouped(text) {
  const parts = /^(-?)(\d+)(\.\d+)?$/.exec(text);
  if (!parts) return text;
  const [, sign, whole, rest = ""] = parts;
  return sign + whole.replace(/\B(?=(\d{3})+$)/g, ",") + rest.slice(0, 3) + rest.slice(3).replace(/0+$/, "");
}

const cents = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** A double as money; "" for none. */
export const money = (number) => (number === null || number === undefined ? "" : cents.format(number));
/** A double without decimals. */
export const rounded = (number) => whole.format(number);

const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
/** A double in few digits: 372.9M. */
export const compact = (number) => short.format(number);

/** A fraction, as text or a number, in percent. */
export const percent = (fraction) => (fraction === "" || fraction === null ? "" : `${(Number(fraction) * 100).toFixed(1)} %`);

/** One exact decimal less another, exact. */
export function less(one, other) {
  const digits = Math.max(...[one, other].map((text) => (text.split(".")[1] ?? "").length));
  const scaled = (text) => {
    const [head, tail = ""] = text.split(".");
    return BigInt(head + tail.padEnd(digits, "0"));
  };
  const gap = scaled(one) - scaled(other);
  const text = String(gap < 0n ? -gap : gap).padStart(digits + 1, "0");
  return (gap < 0n ? "-" : "") + (digits ? `${text.slice(0, -digits)}.${text.slice(-digits)}` : text);
}

/** The difference of two exact decimals, exact, with its sign; "unchanged" for none. */
export function difference(after, before) {
  const gap = less(after, before);
  return /[1-9]/.test(gap) ? (gap.startsWith("-") ? "" : "+") + grouped(gap) : "unchanged";
}

const isNegative = (text) => typeof text === "string" && text.startsWith("-");

/** Exact money in a cell or figure: grouped, below 0 marked. */
export const amount = (text) => h("span", { class: isNegative(text) ? "number below" : "number" }, grouped(text ?? ""));

/** A status, quality, state of a call or agreement, or kind of a break: a shape and its name, so that colour is never alone. */
export function tag(name) {
  return h("span", { class: `tag tag-${name.replaceAll(" ", "-")}` }, h("span", { "aria-hidden": "true", class: "shape" }, SHAPES[name] ?? "·"), name.replace("_", " "));
}
/** The same as text; a name that is none of these stands alone. */
export const marked = (name) => (name in SHAPES ? `${SHAPES[name]} ${name}` : name ?? "");

/** A factor, or a move of one, in words: rates:USD is USD rates, delta:BTC-USD is BTC-USD. */
export const factorName = (text) => text.replace(/^rates:(\w+)/, "$1 rates").replace(/^delta:/, "");

/** How far a call is: the move, in basis points of rates or per cent, and of what; "" where none is near. */
export function distance(move, factor) {
  if (move === "" || move === null || move === undefined) return "";
  if (Number(move) === 0) return "reached";
  return `${Number(move) > 0 ? "+" : ""}${Number(move).toFixed(2)} ${factor.startsWith("rates:") ? "bp" : "%"} ${factorName(factor)}`;
}

// Times

const toMs = (ns) => Number(BigInt(ns) / 1_000_000n);
export const absolute = (ms) => new Date(ms).toISOString().replace("T", " ").replace(/\.\d+Z/, " UTC");

/** A moment in nanoseconds as day and minute; as its time of day. */
export const utc = (ns) => absolute(toMs(ns)).slice(5, 16);
export const timeOfDay = (ns) => absolute(toMs(ns)).slice(11);

/** How long ago, or until: the two largest units. */
export function relative(ms, now = Date.now()) {
  const seconds = Math.round(Math.abs(now - ms) / 1000);
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = units.findIndex(([size]) => seconds >= size);
  if (first < 0) return "now";
  const [size, name] = units[first];
  const [smaller, detail] = units[first + 1] ?? [1, ""];
  const rest = Math.floor((seconds % size) / smaller);
  const text = `${Math.floor(seconds / size)} ${name}${detail && rest ? ` ${rest} ${detail}` : ""}`;
  return ms > now ? `in ${text}` : `${text} ago`;
}

/** A moment in nanoseconds, relative, absolute in its title (UTC, and by the viewer's clock); it follows the clock. "" for none. */
export function moment(ns) {
  if (!ns || String(ns) === "0") return h("span", {}, "");
  const ms = toMs(ns);
  return h("time", { datetime: new Date(ms).toISOString(), title: `${absolute(ms)}, here ${new Date(ms).toLocaleString()}`, data: { ms } }, relative(ms));
}
setInterval(() => {
  for (const element of document.querySelectorAll("time[data-ms]")) {
    const text = relative(Number(element.dataset.ms));
    if (element.textContent !== text) element.textContent = text;
  }
}, 1000);

/** The pools that the live state names, sorted. */
export const poolNames = (state) => [...new Set((state?.pools ?? []).map((one) => one.pool))].sort();

// Parts of a screen

/** A link to an account's screen. */
export const accountLink = (id) => h("a", { href: `#/account/${encodeURIComponent(id)}`, class: "id" }, id);

/** A section with a heading; `id` ties them. */
export function panel(id, title, ...children) {
  return h("section", { class: "panel", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), ...children);
}

/** What stands where there is nothing. */
export const empty = (text, more = "") => h("p", { class: "empty" }, h("strong", {}, text), more ? ` ${more}` : null);

/** Is the screen narrow, as in style.css. */
export const narrow = matchMedia("(max-width: 760px)");

/** Marks of a column for narrow screens: it comes before those without a mark; or it is left out, since the screen that the row
 * leads to, or the row itself, says the same. */
export const FIRST = "first";
export const OUT = "out";

/** Columns as this screen shows them; markOf: the mark of one. */
export function placed(columns, markOf) {
  if (!narrow.matches) return columns;
  const of = (mark) => columns.filter((one) => markOf(one) === mark);
  return [...of(FIRST), ...of(undefined)];
}

/** A table: columns [[heading, how to show a row's cell, is it a number, its mark]]; rows of data; caption for screen readers. */
export function table(caption, every, rows, { row: decorate } = {}) {
  const columns = placed(every, ([, , , mark]) => mark);
  const kind = (isNumber) => (isNumber ? "right" : undefined);
  const heads = columns.map(([heading, , isNumber]) => h("th", { scope: "col", class: kind(isNumber) }, heading));
  const body = rows.map((one, number) => {
    const element = h("tr", {}, columns.map(([, show, isNumber]) => h("td", { class: kind(isNumber) }, show(one, number))));
    decorate?.(element, one);
    return element;
  });
  const caught = h("caption", { class: "hidden" }, caption);
  const whole = h("table", {}, caught, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, body));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, whole);
}

/** A number beside a bar of its share of the most. */
export const bar = (value, most, shown) => h("span", { class: "metered" }, h("meter", { min: "0", max: Math.max(1, most), value, "aria-hidden": "true" }), shown);

/** A number above what it counts, and a row of them. */
export const count = (number, ...of) => h("span", { class: "count" }, h("span", { class: "big" }, number), ...of);
export const countGroup = (label, counts) => h("div", { class: "count-group", role: "group", "aria-label": label }, counts);

/** A choice: values [[value, text]]. */
export function select(id, label, values, onchange, chosen = "") {
  const options = values.map(([value, text]) => h("option", { value, selected: value === chosen }, text));
  return h("label", { class: "field" }, h("span", {}, label), h("select", { id, onchange }, options));
}

/** Make the children say what these say, changing only what differs, so that focus, selection and scrolling stay. What has
 * handlers of its own carries data-key: an element of another key is replaced, never rewritten. */
export function refresh(host, ...children) {
  settle(host, h("div", {}, ...children));
}

function settle(host, next) {
  const fresh = [...next.childNodes];
  [...host.childNodes].slice(fresh.length).forEach((node) => node.remove());
  fresh.forEach((node, at) => {
    const old = host.childNodes[at];
    if (old === undefined) host.append(node);
    else if (old.nodeName !== node.nodeName || old.dataset?.key !== node.dataset?.key) old.replaceWith(node);
    else if (node.nodeType === Node.TEXT_NODE) {
      if (old.data !== node.data) old.data = node.data;
    } else {
      for (const { name } of [...old.attributes]) if (!node.hasAttribute(name)) old.removeAttribute(name);
      for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      settle(old, node);
    }
  });
}
