// @ts-check
/** How many scans of the sheet are selected, and what can be done with that many.

The selection outlasts turning the page, in this tab, until it is used for a deletion or other filters are
chosen: nothing is deleted that the filters in sight would not show. */

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-selection]"));
const count = /** @type {HTMLElement} */ (form.querySelector("[data-count]"));
const compare = /** @type {HTMLButtonElement} */ (form.querySelector("[data-compare]"));
const remove = /** @type {HTMLButtonElement} */ (form.querySelector("[data-delete]"));
const none = /** @type {HTMLButtonElement} */ (form.querySelector("[data-none]"));
const all = /** @type {HTMLInputElement} */ (form.querySelector("[data-all]"));
const boxes = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll('[name="scan"]')]);
const invitation = count.textContent;
const here = new Set(boxes.map((box) => box.value));
/** Whose history, and which part of it. */
const shown = form.dataset.selection;

/** @returns {Set<string>} the scans selected on whichever page */
function remembered() {
  const kept = JSON.parse(sessionStorage.getItem("selection") ?? "{}");
  return new Set(kept.shown === shown ? kept.scans : []);
}

/** @returns {string[]} those of them that other pages show */
const elsewhere = () => [...remembered()].filter((scan) => !here.has(scan));

/** @param {Iterable<string>} scans */
function select(scans) {
  const selected = new Set(scans);
  sessionStorage.setItem("selection", JSON.stringify({ shown, scans: [...selected] }));
  for (const box of boxes) box.checked = selected.has(box.value);
  const ticked = boxes.filter((box) => box.checked).length;
  const others = selected.size - ticked;
  count.textContent = !selected.size
    ? invitation
    : others
      ? `${selected.size} selected, ${others} of them on other pages`
      : `${ticked} on this page selected`;
  compare.disabled = selected.size !== 2;
  remove.disabled = selected.size === 0;
  none.hidden = others === 0;
  all.checked = ticked === boxes.length;
  all.indeterminate = ticked > 0 && ticked < boxes.length;
}

all.addEventListener("change", () => {
  for (const box of boxes) box.checked = all.checked;
});
form.addEventListener("change", () => {
  select([...elsewhere(), ...boxes.filter((box) => box.checked).map((box) => box.value)]);
});
none.addEventListener("click", () => {
  select([]);
  all.focus();
});
form.addEventListener("formdata", (event) => {
  for (const scan of elsewhere()) event.formData.append("scan", scan);
});
// Going back restores what was ticked then; what counts is what is selected now.
window.addEventListener("pageshow", () => select(remembered()));
/** @type {HTMLElement} */ (all.closest("label")).hidden = false;
