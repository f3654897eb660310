// @ts-check
/** The drop zone: check, preview and send pictures, each with its own progress and its own fault. */

import { watch } from "./watch.js";

const TYPES = /\.(jpe?g|png|webp|tiff?|bmp|dcm|dicom|ima)$/i;
const MIME = /^(image\/(jpeg|png|webp|tiff|bmp|x-ms-bmp)|application\/dicom)$/;
// Files on a hospital's CD are often named by a number alone: the site looks into them.
const UNNAMED = /(^[^.]+|\.\d+)$/;
// What people send most of what cannot be read, in the server's words.
const INSTEAD = /** @type {const} */ ([
  [/\.nii(\.gz)?$/i, "NIfTI files cannot be read yet: export one slice as PNG or JPEG."],
  [/\.gif$/i, "GIF pictures are not accepted: save one frame as PNG or JPEG instead."],
  [/\.svg$/i, "SVG drawings are not accepted: a scan is a PNG, JPEG or TIFF."],
  [/\.pdf$/i, "This is a PDF document: export the picture as PNG or JPEG."],
  [/\.hei[cf]$/i, "HEIC photos cannot be read: save the picture as JPEG."],
]);
const AT_A_TIME = 2;
// A longer wait is nothing to keep a page open for.
const LONGEST_WAIT = 120;
// The session or the form's token has changed, as somebody signed in or out in another tab.
const RENEWALS = 3;
const RENEWAL_PAUSE = 1500;
const LONG_LIST = 6;

const form = /** @type {HTMLFormElement} */ (document.querySelector("[data-upload]"));
const zone = /** @type {HTMLElement} */ (form.querySelector("[data-drop]"));
const list = /** @type {HTMLUListElement} */ (document.querySelector("[data-uploads]"));
const status = /** @type {HTMLElement} */ (document.querySelector("[data-upload-status]"));
const head = /** @type {HTMLElement} */ (document.querySelector("[data-upload-head]"));
const summary = /** @type {HTMLElement} */ (head.querySelector("[data-upload-summary]"));
const above = /** @type {HTMLElement} */ (head.querySelector("[data-upload-done]"));
const below = /** @type {HTMLElement} */ (document.querySelector(".actions[data-upload-done]"));
const token = /** @type {HTMLInputElement} */ (form.elements.namedItem("csrfmiddlewaretoken"));
const most = Number(form.dataset.most);
const mostBytes = Number(form.dataset.bytes);

/**
 * What has become of a file, in the order in which it is counted.
 * @typedef {"answered" | "rejected" | "refused" | "failed" | "deleted" | ""} Outcome
 */
const OUTCOMES = /** @type {const} */ ([
  ["answered", "answered"],
  ["rejected", "not a brain MRI"],
  ["refused", "not accepted"],
  ["failed", "not analysed"],
  ["deleted", "deleted"],
  ["", "on the way"],
]);

/** @type {Upload[]} */
const all = [];
/** @type {Upload[]} */
const waiting = [];
let sending = 0;
// Those that the site has asked to come later.
let delayed = 0;
let leaving = false;
// Two first requests at once would start two sessions, of which the browser keeps only one.
let known = false;
/** @type {Promise<void> | null} */
let renewing = null;

/** @param {number} bytes */
function megabytes(bytes) {
  return bytes < 100_000 ? `${Math.ceil(bytes / 1000)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * What is wrong with a file, before any of it is sent; "" if nothing can be seen to be.
 * @param {File} file
 */
function fault(file) {
  if (file.size === 0) return "This file is empty.";
  if (file.size > mostBytes) {
    const limit = Math.floor(mostBytes / 1024 / 1024);
    return `This file has ${megabytes(file.size)}; up to ${limit} MB are possible. Save it as JPEG, or export one slice only.`;
  }
  if (![TYPES, UNNAMED].some((names) => names.test(file.name)) && !MIME.test(file.type)) {
    const known = INSTEAD.find(([name]) => name.test(file.name));
    return known?.[1] ?? "This is not a picture we can read. Please use JPEG, PNG, WebP, TIFF, BMP or DICOM.";
  }
  return "";
}

/**
 * @template {keyof HTMLElementTagNameMap} Name
 * @param {Name} name
 * @param {string} className
 * @param {string} [text]
 */
function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** One file on its way: its line in the list, and its request. */
class Upload {
  /**
   * @param {File} file
   * @param {boolean} alone whether it is the only one, so that its result opens by itself
   */
  constructor(file, alone) {
    this.file = file;
    this.alone = alone;
    this.renewals = 0;
    this.item = element("li", "upload-item");
    this.words = element("p", "small muted", "Waiting to be sent");
    this.progress = element("progress", "");
    this.progress.max = 1;
    this.progress.value = 0;
    this.progress.setAttribute("aria-label", `Upload of ${file.name}`);
    this.action = element("span", "upload-action");
    const text = element("div", "upload-text");
    text.append(element("p", "upload-name", file.name), this.words, this.progress);
    /** @type {Outcome} */
    this.outcome = "";
    this.film = element("span", "upload-film");
    this.film.setAttribute("aria-hidden", "true");
    this.preview();
    this.item.append(this.film, text, this.action);
    list.append(this.item);
    list.hidden = false;
    all.push(this);
    sum();
  }

  preview() {
    const image = document.createElement("img");
    image.alt = "";
    image.width = 72;
    image.height = 72;
    const url = URL.createObjectURL(this.file);
    image.addEventListener("load", () => URL.revokeObjectURL(url));
    // Browsers cannot show every format that can be sent, TIFF for one.
    image.addEventListener("error", () => {
      if (!this.film.dataset.mark) this.mark("format", extension(this.file.name));
    });
    image.src = url;
    this.film.append(image);
  }

  /**
   * In the picture's place.
   * @param {"format" | "refused"} kind
   * @param {string} text
   */
  mark(kind, text) {
    this.film.dataset.mark = kind;
    this.film.replaceChildren(text);
  }

  /** @param {Outcome} outcome */
  became(outcome) {
    this.outcome = outcome;
    sum();
  }

  /** @param {string} text */
  say(text, className = "small muted") {
    this.words.textContent = text;
    this.words.className = className;
  }

  /**
   * @param {string} message what happened and what to do
   * @param {boolean} again whether sending it again may help
   * @param {Outcome} outcome
   */
  fail(message, again, outcome = "failed") {
    if (outcome === "refused") this.mark("refused", "Not accepted");
    this.became(outcome);
    this.progress.hidden = true;
    this.say(message, "error");
    announce(`${this.file.name}: ${message}`);
    this.action.replaceChildren();
    if (!again) return;
    const retry = element("button", "button-quiet", "Try again");
    retry.type = "button";
    retry.addEventListener("click", () => this.again());
    this.action.append(retry);
  }

  again() {
    this.progress.value = 0;
    this.progress.hidden = false;
    this.action.replaceChildren();
    this.became("");
    this.say("Waiting to be sent");
    enqueue(this);
  }

  /** @param {number} seconds */
  later(seconds) {
    delayed += 1;
    this.progress.value = 0;
    const message =
      "The site accepts a limited number per minute. " +
      `This one will be sent automatically in ${seconds} seconds.`;
    this.say(message);
    announce(`${this.file.name}: ${message}`);
    setTimeout(() => {
      delayed -= 1;
      this.again();
    }, seconds * 1000);
  }

  renew() {
    this.renewals += 1;
    delayed += 1;
    this.progress.value = 0;
    this.say("You have signed in or out in another tab. This one will be sent again…");
    renewing ??= pause(RENEWAL_PAUSE).then(visit).finally(() => (renewing = null));
    renewing.then(() => {
      delayed -= 1;
      this.again();
    });
  }

  /** @returns {Promise<void>} done when there is an answer, or none will come */
  send() {
    const body = new FormData();
    body.append("images", this.file, this.file.name || "pasted.png");
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", token.value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => {
      this.progress.value = event.loaded / event.total;
      this.say(`Sending, ${megabytes(event.loaded)} of ${megabytes(event.total)}`);
    });
    request.upload.addEventListener("load", () => this.say("Sent. Checking the picture…"));
    request.addEventListener("load", () => this.answered(request));
    request.addEventListener("error", () => {
      this.fail("The connection broke off. Check it, then try again.", true);
    });
    const ended = new Promise((resolve) => {
      request.addEventListener("loadend", () => {
        sending -= 1;
        sendNext();
        // Before, the way to the history would lead away from what is still to be sent.
        above.hidden = below.hidden = !known || unsent() > 0;
        // Above and below a short list it would stand twice in sight.
        if (all.length > 1 && all.length < LONG_LIST) below.hidden = true;
        resolve(undefined);
      });
    });
    this.say("Sending");
    request.send(body);
    return ended;
  }

  /** @param {XMLHttpRequest} request */
  answered(request) {
    const answer = request.response ?? {};
    if (request.status === 201 && answer.results?.length) {
      known = true;
      this.follow(answer.results[0]);
      return;
    }
    const message = answer.errors?.[0]?.message ?? answer.error;
    const changed = request.status === 403 || answer.code === "session_gone";
    if (changed && this.renewals < RENEWALS) {
      this.renew();
    } else if (changed) {
      this.fail("The site did not take this page’s form. Reload it and choose the picture again.", false);
    } else if (request.status === 413) {
      const words = message ?? "That is too large for the site. Save it as PNG or JPEG.";
      this.fail(words, false, "refused");
    } else if (request.status === 429 && retryAfter(request)) {
      this.later(retryAfter(request));
    } else if (request.status === 429) {
      this.fail(message ?? "That was a lot at once. Wait a minute, then try again.", true);
    } else if (request.status >= 500 || !message) {
      this.fail(message ?? "The site cannot take it at the moment. Try again soon.", true);
    } else {
      this.fail(message, false, request.status === 422 ? "refused" : "failed");
    }
  }

  /** @param {{url: string, state_url: string}} result */
  follow(result) {
    this.progress.hidden = true;
    const link = element("a", "", "Open");
    link.href = result.url;
    link.setAttribute("aria-label", `Open the result of ${this.file.name}`);
    this.action.replaceChildren(link);
    // Another picture may have been added meanwhile: leaving the page would lose it.
    if (this.alone && unsent() === 1) {
      this.say("Stored. Opening its page…");
      announce("Uploaded. Opening the result.");
      leaving = true;
      location.assign(result.url);
      return;
    }
    this.say("Waiting");
    watch(result.state_url, {
      state: (state) => {
        const mark = element("span", `state state-${state.standing}`, state.text);
        this.words.replaceChildren(mark, state.finding ? ` ${state.finding}` : "");
        if (!state.finished) return;
        this.became(outcomeOf(state.status));
        announce(`${this.file.name}: ${state.finding}`);
      },
      gone: () => {
        this.say("Deleted");
        this.became("deleted");
      },
    });
  }
}

/** @param {string} name */
function extension(name) {
  return /\.(\w{2,4})$/.exec(name)?.[1]?.toUpperCase() ?? "No preview";
}

/**
 * @param {string} state
 * @returns {Outcome}
 */
function outcomeOf(state) {
  if (state === "succeeded") return "answered";
  return state === "rejected" ? "rejected" : "failed";
}

/** Count above the list what has become of all of them; of a single one its line says it. */
function sum() {
  head.hidden = all.length < 2;
  const parts = OUTCOMES.map(([outcome, words]) => {
    const count = all.filter((one) => one.outcome === outcome).length;
    return count ? `${count} ${words}` : "";
  });
  summary.textContent = `${all.length} files: ${parts.filter(Boolean).join(", ")}`;
}

/**
 * Said aloud; once the last of several files has ended, with what has become of all of them.
 * @param {string} text
 */
function announce(text) {
  const over = all.length > 1 && all.every((one) => one.outcome);
  status.textContent = over ? `${text} ${summary.textContent}.` : text;
}

function sendNext() {
  while (sending < (known ? AT_A_TIME : 1) && waiting.length) {
    sending += 1;
    const next = /** @type {Upload} */ (waiting.shift());
    // In another tab, too: it waits until this one has the session.
    if (known) next.send();
    else if (navigator.locks) navigator.locks.request("first-upload", visit).then(() => next.send());
    else visit().then(() => next.send());
  }
}

/** Have a session before anything is sent with it, and the token that goes with it. */
async function visit() {
  try {
    const response = await fetch(form.dataset.visit ?? "", {
      headers: { Accept: "application/json" },
      signal: AbortSignal.timeout(15_000),
    });
    if (response.ok) token.value = (await response.json()).token;
  } catch {
    // The upload itself will say what is wrong.
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** How many are not with the site yet, wherever they wait. */
function unsent() {
  return sending + waiting.length + delayed;
}

/**
 * Seconds that the site asks to wait; 0 if it does not say, or too many to wait here.
 * @param {XMLHttpRequest} request
 */
function retryAfter(request) {
  const seconds = Number(request.getResponseHeader("Retry-After"));
  return seconds > 0 && seconds <= LONGEST_WAIT ? seconds : 0;
}

/** @param {Upload} upload */
function enqueue(upload) {
  waiting.push(upload);
  sendNext();
}

/** @param {Iterable<File>} files */
function take(files) {
  const chosen = [...files];
  if (!chosen.length) return;
  if (chosen.length > most) {
    announce(`Up to ${most} pictures at once. The first ${most} were taken.`);
  }
  const taken = chosen.slice(0, most);
  // Whoever sends one picture wants its answer; whoever sends several wants the list.
  const alone = taken.length === 1 && !unsent() && !list.querySelector("a");
  for (const file of taken) {
    const upload = new Upload(file, alone);
    const problem = fault(file);
    if (problem) upload.fail(problem, false, "refused");
    else enqueue(upload);
  }
  if (chosen.length > most) {
    const names = chosen.slice(most).map((file) => file.name).join(", ");
    list.append(element("li", "error", `Left out, as up to ${most} can be sent at once: ${names}`));
  }
}

for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (
  form.querySelectorAll('input[type="file"]')
)) {
  input.addEventListener("change", () => {
    take(input.files ?? []);
    // So that the same file can be chosen again.
    input.value = "";
  });
}

const example = /** @type {HTMLAnchorElement} */ (document.querySelector("[data-example]"));
example.addEventListener("click", async (event) => {
  event.preventDefault();
  try {
    const picture = await (await fetch(example.href)).blob();
    take([new File([picture], example.download, { type: picture.type })]);
  } catch {
    announce("The drawn head could not be fetched. Check the connection, then try again.");
  }
});

form.addEventListener("submit", (event) => event.preventDefault());

window.addEventListener("beforeunload", (event) => {
  if (unsent() && !leaving) event.preventDefault();
});

// A file dropped beside the zone would replace the page.
for (const name of ["dragover", "drop"]) {
  document.addEventListener(name, (event) => event.preventDefault());
}
document.addEventListener("dragover", () => zone.toggleAttribute("data-over", true));
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) zone.toggleAttribute("data-over", false);
});
document.addEventListener("drop", (event) => {
  zone.toggleAttribute("data-over", false);
  take(event.dataTransfer?.files ?? []);
});
document.addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
