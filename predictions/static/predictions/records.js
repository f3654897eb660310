// @ts-check
/** Scans in a list that are still being analysed follow their state by themselves. */

import { watch } from "./watch.js";

for (const record of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll(".record[data-state-url]")
)) {
  const mark = /** @type {HTMLElement} */ (record.querySelector("[data-state]"));
  const finding = /** @type {HTMLElement} */ (record.querySelector("[data-finding]"));
  watch(record.dataset.stateUrl ?? "", {
    state(state) {
      mark.className = `state state-${state.standing}`;
      mark.textContent = state.text;
      finding.textContent = state.short || (state.finished ? "No answer" : "No answer yet");
    },
    gone() {
      mark.textContent = "Deleted";
    },
  });
}
