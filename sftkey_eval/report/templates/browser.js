// Filters, search and pages of the list of examples.
const PAGE = 20;
const list = root.querySelector(".examples");
const controls = Object.fromEntries([...root.querySelectorAll("[data-filter]")].map((c) => [c.dataset.filter, c]));
let shown = [];
let page = 0;

const wanted = (name) => (controls[name] ? controls[name].value : "");

function isOfClass(outcome, kind) {
  if (kind === "") return true;
  if (kind === "lucky") return outcome.lucky;
  if (kind === "disagree") return Boolean(outcome.disagree);
  return outcome.class === kind;
}

function isOfChange(changes, change) {
  if (change === "") return true;
  if (change === "flipped") return changes.includes("fixed") || changes.includes("broken");
  if (change === "same") return changes.includes("both_right") || changes.includes("both_wrong");
  return changes.includes(change);
}

function filter() {
  const [run, kind, code, change, dataset, type] = ["run", "class", "code", "change", "dataset", "type"].map(wanted);
  const words = wanted("search").toLowerCase().trim();
  shown = [];
  data.entries.forEach((entry, index) => {
    const item = data.items[entry.item];
    const matches =
      (chosen.item === null || item.id === chosen.item) &&
      (dataset === "" || item.dataset === dataset) &&
      (type === "" || item.type === type) &&
      isOfChange(entry.changes, change) &&
      entry.outcomes.some((o) => (run === "" || String(o.run) === run) && isOfClass(o, kind) && (code === "" || o.code === code)) &&
      (words === "" || searchable(index).includes(words));
    if (matches) shown.push(index);
  });
  shown = ordered(grouped(shown));
  page = 0;
  render();
}

function render() {
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  const first = page * PAGE;
  const cards = shown.slice(first, first + PAGE).map((index) => card(data.entries[index]));
  list.replaceChildren(...cards);
  root.querySelector(".empty").hidden = cards.length > 0;
  const range = cards.length ? `${plural(first + 1)}\u2013${plural(first + cards.length)} of ${plural(shown.length)}` : "0";
  const only = [...(chosen.item === null ? [] : [`item ${chosen.item}`]), ...(chosen.group === null ? [] : [`group ${chosen.group}`])];
  const among = only.length ? `, only ${only.join(", ")}` : "";
  root.querySelector("output").replaceChildren(...visible(`Showing ${range} (${plural(data.entries.length)} in all)${among}`));
  for (const button of root.querySelectorAll("[data-step]")) {
    const target = page + Number(button.dataset.step);
    const last = target < 0 || target >= pages;
    if (last && button === document.activeElement) root.querySelector(`.pager [data-step="${-button.dataset.step}"]`).focus();
    button.disabled = last;
  }
  return pages;
}

function turn(step) {
  page += step;
  render();
  root.querySelector(".pager").scrollIntoView({ block: "start" });
}

// Moves the focus to the next or the previous card, over the border of a page too.
function move(step) {
  const cards = [...list.children];
  const here = cards.indexOf(document.activeElement.closest(".example"));
  let target = here === -1 ? (step > 0 ? 0 : cards.length - 1) : here + step;
  const pages = Math.max(1, Math.ceil(shown.length / PAGE));
  if (target < 0 || target >= cards.length) {
    if (page + step < 0 || page + step >= pages) return;
    page += step;
    render();
    target = step > 0 ? 0 : list.children.length - 1;
  }
  const next = list.children[target];
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "start" });
}

function clearFilters(values = {}, item = null) {
  for (const [name, control] of Object.entries(controls)) control.value = values[name] || "";
  Object.assign(chosen, { group: null, item });
  filter();
}

function debounced(call, ms) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, ms);
  };
}

for (const [name, control] of Object.entries(controls)) {
  control.addEventListener("input", name === "search" ? debounced(filter, 120) : filter);
}
views.group.addEventListener("input", () => {
  chosen.group = null;
  filter();
});
views.order.addEventListener("input", filter);
window.addEventListener("hashchange", openLinked);
for (const button of root.querySelectorAll("[data-maths]")) {
  button.addEventListener("click", () => {
    sourceShown = !sourceShown;
    button.setAttribute("aria-pressed", String(sourceShown));
    render();
  });
}
for (const button of root.querySelectorAll("[data-step]")) button.addEventListener("click", () => turn(Number(button.dataset.step)));
root.querySelector("[data-clear]").addEventListener("click", () => {
  if (location.hash.startsWith("#item=")) history.replaceState(null, "", "#examples");
  clearFilters();
});
for (const button of document.querySelectorAll("button.jump")) {
  button.addEventListener("click", () => {
    clearFilters(button.dataset);
    root.scrollIntoView({ block: "start" });
    controls.search.focus({ preventScroll: true });
  });
}
await loadMaths();
root.querySelector(".loading").remove();
if (!openLinked()) filter();
prepareSearch();
