// Own books against what clearing houses and custodians say.

import { api, repeat } from "./api.js";
import { FIRST, accountLink, count, countGroup, difference, empty, grouped, h, moment, panel, refresh, rounded, select, table, tag } from "./dom.js";

const SHOWN = 200; // rows; the filter looks at all
const SECONDS = 5;
const KINDS = ["QUANTITY", "MISSING_HERE", "MISSING_THERE"];
const STATEMENTS = "Breaks and their age stand here when statements arrive; they never change a position.";
const kept = { text: "", kind: "" };

/** Show the screen until `signal` aborts. */
export function reconciliation(main, signal) {
  const counts = h("div", { class: "counts" });
  const about = h("div");
  const list = h("div");
  const shown = h("span", { class: "muted", role: "status" });
  let found = null;
  const draw = () => {
    if (found === null) return refresh(list, empty("No worker has compared a statement yet.", STATEMENTS));
    const chosen = found.breaks.filter(matches);
    const total = KINDS.reduce((sum, kind) => sum + (found.counts[kind] ?? 0), 0);
    shown.textContent = `${rounded(chosen.length)} of ${rounded(total)} breaks${chosen.length > SHOWN ? `, the first ${SHOWN} shown` : ""}`;
    refresh(counts, tiles(found.counts));
    refresh(about, h("p", { class: "muted" }, "compared ", moment(found.ts_ns), total > found.breaks.length ? `; the ${rounded(found.breaks.length)} oldest are listed` : ""));
    refresh(list, chosen.length ? breakTable(chosen.slice(0, SHOWN)) : empty(total ? "No break fits the filter." : found.counts.MATCHED ? "No breaks." : "No statement has come yet.", total || found.counts.MATCHED ? "" : STATEMENTS));
  };
  const set = (field, value) => {
    kept[field] = value;
    draw();
  };
  main.append(
    h("h1", { class: "hidden" }, "Reconciliation"), counts,
    panel("breaks", "Where statements differ from own books, oldest first",
      h("form", { class: "bar", "aria-label": "Filter", onsubmit: (event) => event.preventDefault() },
        h("label", { class: "field" }, h("span", {}, "Filter"), h("input", { id: "filter", type: "search", placeholder: "account, holder or name", value: kept.text, maxlength: "64", spellcheck: "false", oninput: (event) => set("text", event.target.value.trim().toLowerCase()) })),
        select("by-kind", "Kind", [["", "any"], ...KINDS.map((one) => [one, one.replace("_", " ")])], (event) => set("kind", event.target.value), kept.kind),
        shown),
      about, list),
  );
  const load = async () => {
    found = (await api.reconciliation()).data;
    if (!signal.aborted) draw();
  };
  repeat(SECONDS, signal, load, (error) => refresh(list, empty("It cannot be read.", error.message)));
}

const matches = (one) => (!kept.kind || one.kind === kept.kind) && (!kept.text || `${one.account} ${one.holder} ${one.name}`.toLowerCase().includes(kept.text));

const tiles = (counts) => countGroup("Statements by how they compare", ["MATCHED", ...KINDS].map((kind) => count(rounded(counts[kind] ?? 0), tag(kind))));

const breakTable = (rows) =>
  table("Breaks, the oldest first", [
    ["Since", (one) => moment(one.since_ns)],
    ["Account", (one) => accountLink(one.account), false, FIRST],
    ["Holder", (one) => one.holder || h("span", { class: "muted" }, "nobody")],
    ["What", (one) => h("span", { title: one.type }, one.name), false, FIRST],
    ["Kind", (one) => tag(one.kind), false, FIRST],
    ["Own books", (one) => grouped(one.held), true],
    ["Stated", (one) => grouped(one.stated), true],
    ["Difference", (one) => difference(one.stated, one.held), true, FIRST],
    ["Statement", (one) => (one.stated_ns === "0" ? h("span", { class: "muted" }, "never") : moment(one.stated_ns))],
  ], rows);
