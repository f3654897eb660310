/* Says what happened when a passkey was not used, instead of leaving the page silent. */
const place = document.getElementById("passkey-error");

const SENTENCES = {
  NotAllowedError: "No passkey was used. You can try again, or sign in another way.",
  InvalidStateError: "This device already holds a passkey for your account.",
  SecurityError: "Passkeys work only on the site’s own address, over a secure connection.",
};

document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  const name = event.detail.exception?.name;
  place.textContent = SENTENCES[name] ?? "This browser could not use a passkey here.";
});

document.addEventListener("click", () => {
  place.textContent = "";
});
