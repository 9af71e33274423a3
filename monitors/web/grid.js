// A table of any length over a view of perspective: only the rows in sight exist. Sorted by its heads, moved in by keys.

import { FIRST, OUT, distance, h, marked, money, narrow, percent, placed, rounded } from "./dom.js";

const ROW = 26; // pixels, as in parts.css
const TALLEST = 15_000_000; // pixels that every browser can scroll

const plain = (value) => value ?? "";
const clock = (ms) => (ms ? new Date(ms).toISOString().slice(11, 19) : "");

/** name: [heading, how to show a value, given the columns and its place in them, class of the cell, mark for narrow screens] */
const COLUMNS = {
  account: ["Account", plain, "id", FIRST],
  customer: ["Customer", plain, "id", OUT],
  pool: ["Pool", plain, "", OUT],
  status: ["Status", marked, "state", FIRST],
  quality: ["Quality", marked, "state"],
  excess_usd: ["Excess USD", money, "right", FIRST],
  utilization: ["Used", percent, "right", FIRST],
  distance: ["Distance to call", (value, all, at) => distance(value, all.distance_factor[at]), "right"],
  excess: ["Excess", money, "right"],
  equity: ["Equity", money, "right"],
  initial: ["Initial", money, "right"],
  maintenance: ["Maintenance", money, "right"],
  call: ["Shortfall", (value) => (value ? money(value) : ""), "right"],
  currency: ["Ccy", plain, ""],
  ts: ["As of", clock, "right"],
};
const GROUP_COLUMNS = {
  group: ["", marked, "id"],
  account: ["Accounts", rounded, "right"],
  excess_usd: ["Excess USD, sum", money, "right"],
  lowest: ["Excess USD, lowest", money, "right"],
  called: ["In call or worse", rounded, "right"],
};
const EXPRESSIONS = {
  lowest: '"excess_usd"',
  called: "(\"status\" == 'OK' or \"status\" == 'WATCH') ? 0 : 1",
};
const NEAR = 'is_null("distance") ? 1000000000.0 : abs("distance")';
const AGGREGATES = { account: "count", excess_usd: "sum", lowest: "low", called: "sum" };

export class Grid {
  #table;
  #view = null;
  #grouping = ""; // the field that the view is grouped by
  #columns = [];
  #rows = [];
  #order = Promise.resolve(); // a view may not be let go of while something reads it: one thing at a time
  #isWaiting = false;
  #isAsked = false;
  #first = 0;
  #count = 0;
  #active = 0;
  #keys = [];
  #asked = { filters: [], search: "", group: "", sort: ["excess_usd", "asc"] };

  /** open(id): a row was chosen; group(field, value): a group was; counted(count, grouping): how many rows there are. */
  constructor(table, { open, group, counted }) {
    this.#table = table;
    this.open = open;
    this.group = group;
    this.counted = counted;
    this.head = h("tr", { role: "row", "aria-rowindex": 1 });
    this.body = h("tbody", { role: "rowgroup" });
    this.grid = h(
      "table", { role: "grid", class: "live", tabindex: "0", "aria-label": "All accounts, live" },
      h("thead", { role: "rowgroup" }, this.head), this.body,
    );
    this.tall = h("div", { class: "tall" }, this.grid);
    this.element = h("div", { class: "grid" }, this.tall);
    this.element.addEventListener("scroll", () => this.#paint(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("click", (event) => this.#click(event));
    this.sized = new ResizeObserver(() => this.#paint());
    this.sized.observe(this.element);
    this.renew = () => this.show({});
    narrow.addEventListener("change", this.renew);
  }

  /** Show rows with these filters ([field, "==", value]), search text, group ("" or a field), sort [field, direction]. */
  show(asked) {
    this.#asked = { ...this.#asked, ...asked };
    if (this.#isAsked) return; // the change that waits will show this
    this.#isAsked = true;
    this.#inOrder(() => {
      this.#isAsked = false;
      return this.#change();
    });
  }

  /** Let go of the engine's view. */
  close() {
    this.sized.disconnect();
    narrow.removeEventListener("change", this.renew);
    return this.#inOrder(async () => {
      const view = this.#view;
      this.#view = null;
      await view?.delete();
    });
  }

  #inOrder(work) {
    this.#order = this.#order.then(work).catch((error) => console.error(error));
    return this.#order;
  }

  async #change() {
    const { filters, search, group, sort } = this.#asked;
    const columns = placed(Object.entries(group ? GROUP_COLUMNS : COLUMNS), ([, [, , , mark]]) => mark);
    const expressions = group ? { ...EXPRESSIONS } : {};
    const filter = [...filters];
    if (search) {
      expressions.words = "lower(concat(\"account\", ' ', \"customer\"))";
      filter.push(["words", "contains", search.toLowerCase()]);
    }
    const names = columns.map(([name]) => name).filter((name) => name !== "group");
    const by = names.includes(sort[0]) ? sort : ["excess_usd", "asc"];
    if (by[0] === "distance") expressions.near = NEAR; // by how far, whichever way
    const grouping = group ? { group_by: [group], aggregates: AGGREGATES } : {};
    const order = by[0] === "distance" ? ["near", by[1]] : by;
    const read = group ? names : [...names, "distance_factor"];
    const view = await this.#table.view({ columns: read, filter, expressions, sort: [order], ...grouping });
    await this.#view?.delete();
    this.#view = view;
    this.#grouping = group;
    await view.on_update(() => this.#paint());
    this.#columns = columns;
    this.#drawHead(by, group);
    this.#rows = [];
    this.body.replaceChildren();
    this.element.scrollTop = 0;
    this.#active = 0;
    await this.#read();
  }

  #drawHead([sorted, direction], group) {
    const heads = this.#columns.map(([name, [heading, , kind]]) => {
      const isSorted = name === sorted;
      const arrow = isSorted ? (direction === "asc" ? " ↑" : " ↓") : "";
      const text = name === "group" ? group[0].toUpperCase() + group.slice(1) : heading;
      const next = isSorted && direction === "asc" ? "desc" : "asc";
      const choose = () => this.show({ sort: [name, next] });
      const inner = name === "group" ? text : h("button", { type: "button", onclick: choose }, text, h("span", { "aria-hidden": "true" }, arrow));
      const way = direction === "asc" ? "ascending" : "descending";
      return h("th", { scope: "col", role: "columnheader", class: kind, "aria-sort": isSorted ? way : undefined }, inner);
    });
    this.head.replaceChildren(...heads);
    this.grid.setAttribute("aria-colcount", this.#columns.length);
  }

  #paint() {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#inOrder(() => {
      this.#isWaiting = false;
      return this.#read();
    });
  }

  async #read() {
    const view = this.#view;
    if (view === null) return;
    const sums = this.#grouping ? 1 : 0; // the first row of groups is the sum of all
    const total = (await view.num_rows()) - sums;
    const first = Math.max(0, Math.min(Math.round(this.element.scrollTop / this.#step(total)), total - Math.floor(this.#fitting)));
    const shown = Math.min(Math.ceil(this.#fitting), total - first);
    const values = await view.to_columns({ start_row: first + sums, end_row: first + sums + shown });
    this.#draw(first, total, shown, values);
  }

  /** Rows that fit beside the head, a fraction. */
  get #fitting() {
    return this.element.clientHeight / ROW - 1;
  }

  /** Pixels of scrolling a row: ROW, less where all rows would be taller than a browser can scroll. */
  #step(total) {
    return (Math.min(TALLEST, (total + 1) * ROW) - this.element.clientHeight) / (total - this.#fitting) || ROW;
  }

  #draw(first, total, shown, values) {
    if (total !== this.#count || this.#rows.length === 0) {
      this.#count = total;
      this.tall.style.height = `${Math.min(TALLEST, (total + 1) * ROW)}px`;
      this.grid.setAttribute("aria-rowcount", total + 1);
      this.counted(total, this.#grouping);
    }
    this.#first = first;
    this.#active = Math.min(this.#active, Math.max(0, total - 1));
    while (this.#rows.length < shown) this.#addRow();
    this.#keys = this.#grouping ? values.__ROW_PATH__.map((path) => path[0]) : values.account;
    this.#rows.forEach(({ row, cells }, at) => {
      row.hidden = at >= shown;
      if (row.hidden) return;
      row.setAttribute("aria-rowindex", first + at + 2);
      row.classList.toggle("active", first + at === this.#active);
      const status = values.status?.[at] ?? "";
      if (row.dataset.status !== status) row.dataset.status = status;
      this.#columns.forEach(([name, [, show]], place) => {
        const text = show(name === "group" ? this.#keys[at] : values[name][at], values, at);
        if (cells[place].data !== text) cells[place].data = text;
      });
    });
    this.#pointActive();
  }

  #addRow() {
    const cells = this.#columns.map(() => document.createTextNode(""));
    const inside = cells.map((text, place) => h("td", { role: "gridcell", class: this.#columns[place][1][2] }, text));
    const row = h("tr", { role: "row", id: `row-${this.#rows.length}` }, inside);
    this.#rows.push({ row, cells });
    this.body.append(row);
  }

  #pointActive() {
    const at = this.#active - this.#first;
    this.#rows.forEach(({ row }, place) => row.classList.toggle("active", place === at));
    if (this.#rows[at] && !this.#rows[at].row.hidden) this.grid.setAttribute("aria-activedescendant", `row-${at}`);
    else this.grid.removeAttribute("aria-activedescendant");
  }

  #choose(at) {
    const key = this.#keys[at];
    if (key === undefined) return;
    if (this.#grouping) this.group(this.#grouping, key);
    else this.open(key);
  }

  #click(event) {
    const row = event.target.closest("tr");
    const at = this.#rows.findIndex((one) => one.row === row);
    if (at < 0) return;
    this.#active = this.#first + at;
    this.#choose(at);
  }

  #key(event) {
    if (event.target !== this.grid) return;
    const page = Math.max(1, Math.floor(this.#fitting) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.#count, End: this.#count };
    if (event.key === "Enter") this.#choose(this.#active - this.#first);
    else if (event.key in steps) this.#move(steps[event.key], page);
    else return;
    event.preventDefault();
  }

  #move(step, page) {
    this.#active = Math.max(0, Math.min(this.#count - 1, this.#active + step));
    const below = this.#active - this.#first - page;
    const first = this.#active < this.#first ? this.#active : this.#first + Math.max(0, below);
    if (first !== this.#first) this.element.scrollTop = first * this.#step(this.#count);
    this.#pointActive();
  }
}
