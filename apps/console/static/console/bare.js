/* What the sign-in pages do beyond plain forms. They work without it, but for passkeys. */
document.addEventListener("DOMContentLoaded", () => {
  const problem = document.querySelector("[data-focus]")
  if (problem) problem.focus()

  for (const field of document.querySelectorAll('input[type="password"]')) {
    const button = document.createElement("button")
    button.type = "button"
    button.className = "show"
    button.textContent = "Show"
    button.setAttribute("aria-label", "Show the password")
    button.setAttribute("aria-pressed", "false")
    button.addEventListener("click", () => {
      const shown = field.type === "password"
      field.type = shown ? "text" : "password"
      button.textContent = shown ? "Hide" : "Show"
      button.setAttribute("aria-pressed", String(shown))
    })
    const beside = document.createElement("div")
    beside.className = "beside"
    field.replaceWith(beside)
    beside.append(field, button)
  }

  const zone = document.querySelector("select[data-browser-zone]")
  const ours = Intl.DateTimeFormat().resolvedOptions().timeZone
  if (zone && !document.querySelector(".problem") && [...zone.options].some((each) => each.value === ours)) {
    zone.value = ours
  }

  if (!window.PublicKeyCredential) {
    for (const each of document.querySelectorAll("[data-needs-passkeys]")) each.hidden = true
  }
  document.addEventListener("allauth.error", () => {
    const words = document.getElementById("passkey_error")
    if (words) words.hidden = false
  })
})
