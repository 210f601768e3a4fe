// The keyboard; the same list is in the dialog that `?` opens.
const help = document.getElementById("keys");
const actions = {
  "/": () => { root.scrollIntoView({ block: "start" }); controls.search.focus({ preventScroll: true }); },
  j: () => move(1),
  k: () => move(-1),
  n: () => { if (!root.querySelector("[data-step='1']").disabled) turn(1); },
  p: () => { if (!root.querySelector("[data-step='-1']").disabled) turn(-1); },
  m: () => root.querySelector("[data-maths]")?.click(),
  t: () => document.getElementById("theme").click(),
  "?": () => help.showModal(),
};

document.addEventListener("keydown", (event) => {
  const active = document.activeElement;
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.key === "Escape" && active === controls.search && controls.search.value) {
    controls.search.value = "";
    filter();
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(active.tagName)) return;
  // Up and down keep scrolling: a completion can be longer than the screen.
  const onCard = active.classList.contains("example");
  const arrow = onCard && { ArrowRight: "j", ArrowLeft: "k" }[event.key];
  const action = Object.hasOwn(actions, event.key) ? actions[event.key] : arrow && actions[arrow];
  if (!action) return;
  event.preventDefault();
  action();
});

for (const button of document.querySelectorAll("[data-keys]")) button.addEventListener("click", () => help.showModal());
