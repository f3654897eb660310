// @ts-check
/** Says what happened when a passkey was not used, instead of leaving the page silent. */

const place = /** @type {HTMLElement} */ (document.getElementById("passkey-error"));
// Browsers refuse passkeys at these, and allow them at this machine's name.
const LOOPBACK = ["127.0.0.1", "[::1]"];

/** @type {Record<string, string>} */
const SENTENCES = {
  NotAllowedError: "No passkey was used. You can try again, or sign in another way.",
  InvalidStateError: "This device already holds a passkey for your account.",
  SecurityError: "Passkeys work only on the site’s own address, over a secure connection.",
};

document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  const name = /** @type {CustomEvent} */ (event).detail.exception?.name;
  place.textContent = SENTENCES[name] ?? "This browser could not use a passkey here.";
  if (name === "SecurityError" && LOOPBACK.includes(location.hostname)) {
    const link = document.createElement("a");
    const there = new URL(location.href);
    there.hostname = "localhost";
    link.href = there.href;
    link.textContent = `Open this page at ${there.host}`;
    place.append(" ", link);
  }
});

document.addEventListener("click", () => {
  place.textContent = "";
});
