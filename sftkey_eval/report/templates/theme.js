// In the head, so that a chosen theme is there before anything is painted.
(() => {
  "use strict";
  const names = ["system", "light", "dark"];
  const root = document.documentElement;
  // A page opened from a file may have no storage.
  const stored = () => { try { return localStorage.getItem("sftkey-theme"); } catch { return null; } };
  const store = (name) => { try { localStorage.setItem("sftkey-theme", name); } catch { /* the choice lasts as long as the page */ } };

  function set(name) {
    if (name === "system") delete root.dataset.theme;
    else root.dataset.theme = name;
    const button = document.getElementById("theme");
    if (button) button.textContent = `Theme: ${name}`;
  }

  const current = () => root.dataset.theme || "system";
  const next = () => {
    const name = names[(names.indexOf(current()) + 1) % names.length];
    store(name);
    set(name);
  };
  set(names.includes(stored()) ? stored() : "system");
  document.addEventListener("DOMContentLoaded", () => {
    set(current());
    document.getElementById("theme").addEventListener("click", next);
  });
})();
