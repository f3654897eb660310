// @ts-check
/** The page of a run that has not ended: says where it stands, and becomes the result. */

import { watch } from "./watch.js";

const page = /** @type {HTMLElement} */ (document.querySelector("[data-wait]"));
const part = (/** @type {string} */ name) =>
  /** @type {HTMLElement} */ (page.querySelector(`[${name}]`));
const trouble = part("data-trouble");
const announcement = part("data-announce");

/** @param {string} text */
function announce(text) {
  if (announcement.textContent !== text) announcement.textContent = text;
}

/** @param {import("./watch.js").State} state */
function show(state) {
  trouble.hidden = true;
  if (state.finished) {
    announce("Finished. Opening the result.");
    location.replace(state.url);
    return;
  }
  part("data-heading").textContent = state.text;
  document.title = document.title.replace(/^.* – /, `${state.text} – `);
  for (const step of page.querySelectorAll("[data-step]")) {
    const current = step.getAttribute("data-step") === state.status;
    if (current) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  }
  const next = state.place === 1 ? "next" : `number ${state.place}`;
  const place = state.place ? `: ${next} in line` : "";
  part("data-place").textContent = place;
  part('data-step="queued"').classList.toggle("done", state.status === "running");
  part("data-attempt").textContent =
    state.attempt > 1 ? `: attempt ${state.attempt}, as an earlier one was cut short` : "";
  announce(state.text + place);
}

setTimeout(() => {
  const late = part("data-late");
  late.hidden = false;
  part("data-usual").hidden = true;
  announce(late.textContent?.trim() ?? "");
}, 1000 * Number(page.dataset.lateAfter));

watch(page.dataset.stateUrl ?? "", {
  state: show,
  trouble() {
    trouble.hidden = false;
    announce("The site does not answer at the moment. Your picture keeps its place.");
  },
  gone() {
    location.reload();
  },
});
