// The table of all accounts in perspective's engine (WebAssembly, in a worker of its own), fed by the live WebSocket.

import { live } from "./api.js";

const SCHEMA = {
  account: "string", customer: "string", pool: "string", status: "string", quality: "string", currency: "string",
  equity: "float", initial: "float", maintenance: "float", excess: "float", utilization: "float", call: "float", distance: "float", distance_factor: "string",
  excess_usd: "float", ts: "datetime",
};

let opened = null;

/** The table, made at the first call; it rejects where the browser cannot run it. */
export function accountsTable() {
  opened ??= open();
  return opened;
}

async function open() {
  const waiting = [];
  let table = null;
  let order = Promise.resolve();
  const take = (work) => {
    if (table === null) waiting.push(work);
    else order = order.then(() => work(table)).catch((error) => console.error(error));
  };
  live.addEventListener("reset", () => take((into) => into.clear()));
  live.addEventListener("rows", ({ detail }) => take((into) => into.update(detail)));
  const { worker } = await import("/vendor/perspective.js");
  const client = await worker();
  const made = await client.table(SCHEMA, { index: "account" });
  table = made;
  waiting.splice(0).forEach(take);
  return made;
}
