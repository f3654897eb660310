// @ts-check
/** Ask how a run is doing until it has ended. */

const FIRST = 300;
const SLOWEST = 3000;
const AFTER_TROUBLE = 5000;
// For moments of a sign-in in another tab, the browser has neither the old session nor the new one.
const TO_BE_SURE = 2000;

/**
 * @typedef {object} State
 * @property {string} status
 * @property {string} standing the status, or the doubt that an answer comes with
 * @property {string} text the same in words
 * @property {number} place in line, 1 for the next
 * @property {number} attempt
 * @property {boolean} finished
 * @property {string} message
 * @property {string} label the finding in a word, "" where there is none
 * @property {string} short the same, with a word on whether it is to be relied on
 * @property {string} finding the outcome in a sentence, "" while there is none
 * @property {string} url
 */

/** @returns {Promise<void>} once the page can be seen */
function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
  });
}

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Call `onState` with each answer until the run has ended. Often at first, as most runs take a
 * second; less often later; not at all while nobody looks. Trouble on the way is waited out.
 *
 * @param {string} url of the run's state
 * @param {object} on
 * @param {(state: State) => void} on.state
 * @param {() => void} [on.trouble] no answer came; it goes on trying
 * @param {() => void} [on.gone] there is no such run any more
 */
export async function watch(url, on) {
  let interval = FIRST;
  let missed = false;
  for (;;) {
    await pause(interval);
    await visible();
    interval = Math.min(SLOWEST, interval * 1.3);
    try {
      const response = await fetch(url, {
        headers: { Accept: "application/json" },
        signal: AbortSignal.timeout(15_000),
      });
      if (response.status === 404) {
        if (missed) {
          on.gone?.();
          return;
        }
        missed = true;
        interval = TO_BE_SURE;
        continue;
      }
      missed = false;
      if (!response.ok) {
        interval = 1000 * Number(response.headers.get("Retry-After")) || AFTER_TROUBLE;
        on.trouble?.();
        continue;
      }
      const state = /** @type {State} */ (await response.json());
      on.state(state);
      if (state.finished) return;
    } catch {
      interval = AFTER_TROUBLE;
      on.trouble?.();
    }
  }
}
