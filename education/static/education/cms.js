// @ts-check
/** Lets Wagtail's editor work without inline scripts.
 *
 * A few of its widgets start themselves by an inline script, which the content security policy
 * forbids. Each is one call with JSON arguments, so it is read as data and made from here; any
 * other text is left alone.
 */

const CALL = /^(new )?(\w+)\((.*)\);?$/s;
const FUNCTIONS = new Set(["initDateChooser", "initDateTimeChooser", "initTimeChooser"]);
const CLASSES = new Set(["PageChooser"]);
const started = new WeakSet();

/** @param {HTMLScriptElement} script */
function start(script) {
  if (script.src || started.has(script)) {
    return;
  }
  const [, isNew, name, args] = CALL.exec(script.textContent?.trim() ?? "") ?? [];
  if (!(isNew ? CLASSES : FUNCTIONS).has(name)) {
    return;
  }
  started.add(script);
  const values = JSON.parse(`[${args}]`);
  const widget = /** @type {any} */ (window)[name];
  if (isNew) {
    new widget(...values);
  } else {
    widget(...values);
  }
}

/** @param {ParentNode} root */
function startAll(root) {
  root.querySelectorAll("script").forEach(start);
}

document.addEventListener("DOMContentLoaded", () => {
  startAll(document);
  new MutationObserver((changes) => {
    for (const change of changes) {
      for (const node of change.addedNodes) {
        if (node instanceof HTMLScriptElement) {
          start(node);
        } else if (node instanceof Element) {
          startAll(node);
        }
      }
    }
  }).observe(document.body, { childList: true, subtree: true });
});
