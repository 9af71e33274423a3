// What another process publishes as lists of records, shown as it is: a table a list, a column a field.

import { accountLink, empty, grouped, h, moment, table } from "./dom.js";

const isNumber = (value) => typeof value === "number" || (typeof value === "string" && /^-?\d+(\.\d+)?$/.test(value));
const words = (name) => {
  const text = name.replace(/_ns$/, "").replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
};

function cell(name, value) {
  if (value === null || value === undefined) return "";
  if (name === "account") return accountLink(value);
  if (name.endsWith("_ns")) return moment(value);
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  return grouped(String(value));
}

/** A table for each list of records of a document, under its name. */
export function records(document) {
  const lists = Object.entries(document).filter(([, value]) => Array.isArray(value));
  return lists.flatMap(([name, rows]) => {
    const heading = h("h3", {}, words(name));
    if (rows.length === 0) return [heading, empty("None.")];
    const fields = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const columns = fields.map((field) => {
      const isRight = !field.endsWith("_ns") && rows.every((row) => row[field] === undefined || row[field] === null || isNumber(row[field]));
      return [words(field), (row) => cell(field, row[field]), isRight];
    });
    return [heading, table(words(name), columns, rows)];
  });
}
