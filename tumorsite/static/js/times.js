// @ts-check
/** Times in the visitor's own zone; the one that the site keeps, UTC, in the title. */

const shown = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

for (const time of /** @type {NodeListOf<HTMLTimeElement>} */ (
  document.querySelectorAll('time[datetime*="T"]')
)) {
  const moment = new Date(time.dateTime);
  if (Number.isNaN(moment.getTime())) continue;
  time.title = time.textContent?.trim() ?? "";
  time.textContent = shown.format(moment);
}

for (const field of /** @type {NodeListOf<HTMLInputElement>} */ (
  document.querySelectorAll("[data-zone]")
)) {
  const form = /** @type {HTMLFormElement} */ (field.form);
  const days = /** @type {HTMLInputElement[]} */ ([...form.querySelectorAll('[type="date"]')]);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  // Days are the visitor's own; nothing is said of the zone where no day is asked for.
  const tell = () => {
    field.value = days.some((day) => day.value) ? zone : "";
    field.disabled = !field.value;
  };
  form.addEventListener("submit", tell);
  tell();
}
