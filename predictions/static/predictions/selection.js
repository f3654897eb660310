// @ts-check
/** How many scans of the sheet are selected, and what can be done with that many. */

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-selection]"));
const count = /** @type {HTMLElement} */ (form.querySelector("[data-count]"));
const compare = /** @type {HTMLButtonElement} */ (form.querySelector("[data-compare]"));
const remove = /** @type {HTMLButtonElement} */ (form.querySelector("[data-delete]"));
const all = /** @type {HTMLInputElement} */ (form.querySelector("[data-all]"));
const boxes = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll('[name="scan"]')]);
const invitation = count.textContent;

function update() {
  const selected = boxes.filter((box) => box.checked).length;
  count.textContent = selected ? `${selected} of ${boxes.length} selected` : invitation;
  compare.disabled = selected !== 2;
  remove.disabled = selected === 0;
  all.checked = selected === boxes.length;
  all.indeterminate = selected > 0 && selected < boxes.length;
}

all.addEventListener("change", () => {
  for (const box of boxes) box.checked = all.checked;
});
form.addEventListener("change", update);
// Going back restores what was ticked.
window.addEventListener("pageshow", update);
/** @type {HTMLElement} */ (all.closest("label")).hidden = false;
update();
