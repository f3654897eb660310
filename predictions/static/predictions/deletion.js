// @ts-check
/** What is deleted is no longer selected in the history. */

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-deletion]"));
form.addEventListener("submit", () => sessionStorage.removeItem("selection"));
