// Own books against what clearing houses and custodians say.

import { api, repeat } from "./api.js";
import { empty, h, moment, panel, refresh } from "./dom.js";
import { records } from "./records.js";

const SECONDS = 5;

/** Show the screen until `signal` aborts. */
export function reconciliation(main, signal) {
  const host = h("div");
  main.append(h("h1", { class: "hidden" }, "Reconciliation"), panel("breaks", "Own books against statements", host));
  const load = async () => {
    const { available, data } = await api.reconciliation();
    if (signal.aborted) return;
    if (!available) refresh(host, empty("No statement has been compared yet.", "Breaks and their age stand here when statements arrive; they never change a position."));
    else refresh(host, data.ts_ns ? h("p", { class: "muted" }, "compared ", moment(data.ts_ns)) : h("span"), ...records(data));
  };
  repeat(SECONDS, signal, load, (error) => refresh(host, empty("It cannot be read.", error.message)));
}
