// @ts-check
/** Keeps the parts of the page that change as they are on the server, without a reload. */

const EVERY = 3000;
/** While nothing runs; a run may still begin by itself. */
const SELDOM = 30_000;
const SLOWEST = 60_000;

const announcement = /** @type {HTMLElement} */ (document.querySelector("[data-announce]"));
/** @type {HTMLElement} */ (document.querySelector("[data-again]")).hidden = true;

/** @returns {string} what people who do not see the page should hear of */
const status = () => document.querySelector("[data-status]")?.textContent ?? "";

/** @param {Document} page */
const pace = (page) => (page.querySelector("[data-running]") ? EVERY : SELDOM);

/** @param {Document} fresh */
function show(fresh) {
  const before = status();
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.querySelector(`[data-live="${part.getAttribute("data-live")}"]`);
    // Whoever stands on a link in it, or has unfolded something, is not disturbed.
    if (!other || part.innerHTML === other.innerHTML || part.contains(document.activeElement)) {
      continue;
    }
    const open = part.querySelector("details")?.open ?? false;
    part.innerHTML = other.innerHTML;
    const details = part.querySelector("details");
    if (details) details.open = open;
  }
  if (status() !== before) announcement.textContent = status();
}

async function follow() {
  let pause = pace(document);
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, pause));
    if (document.hidden) continue;
    try {
      const response = await fetch(location.href, { signal: AbortSignal.timeout(15_000) });
      if (response.status === 404) {
        location.reload();
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      show(fresh);
      pause = pace(fresh);
    } catch {
      pause = Math.min(SLOWEST, pause * 2);
    }
  }
}

follow();
