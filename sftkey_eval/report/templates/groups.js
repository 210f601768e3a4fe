// How the list is ordered, what it is grouped by, and links to one item.
const SHOWN_GROUPS = 200;
const chosen = { group: null, item: null }; // the value of the group that is open, and the item that was linked to
const views = Object.fromEntries([...root.querySelectorAll("[data-view]")].map((control) => [control.dataset.view, control]));

const yes = (value) => (value ? "yes" : "no");
const COLUMNS = {
  run: (o) => data.runs[o.run],
  class: (o) => data.classes[o.class],
  code: (o) => o.code ?? "valid",
  verdict: (o) => o.verdict,
  rule: (o) => o.rule,
  predicted: (o) => o.predicted ?? "none",
  lenient: (o) => o.lenient ?? "none",
  source: (o) => o.source ?? "none",
  cot_value: (o) => o.cot_value ?? "none",
  finish: (o) => o.finish ?? "unknown",
  lucky: (o) => yes(o.lucky),
  tolerant: (o) => yes(o.tolerant),
  present: (o) => yes(o.present),
  second: (o) => o.second ?? "not asked",
  sample: (o) => String(o.sample),
  length: (o) => lengthGroup(o.length),
  gold: (o, item) => item.gold ?? "none",
  dataset: (o, item) => item.dataset || "unnamed",
  split: (o, item) => item.split || "unnamed",
  type: (o, item) => item.type,
  item: (o, item) => item.item_id,
};

// Groups twice as long as the one before.
function lengthGroup(length) {
  if (length < 250) return "0 to 249";
  const low = 250 * 2 ** Math.floor(Math.log2(length / 250));
  return `${plural(low)} to ${plural(2 * low - 1)}`;
}

function groupOf(entry) {
  const item = data.items[entry.item];
  if (views.group.value === "change") return entry.changes.map((name) => data.changes[name]).join(", ") || "none";
  const column = COLUMNS[views.group.value];
  const values = entry.outcomes.map((outcome) => column(outcome, item));
  return values.every((value) => value === values[0]) ? values[0] : values.join(" \u2192 ");
}

const lengthOf = (index) => Math.max(...data.entries[index].outcomes.map((outcome) => outcome.length));

function ordered(indices) {
  const sign = { longest: -1, shortest: 1 }[views.order.value];
  if (!sign) return indices;
  return [...indices].sort((a, b) => sign * (lengthOf(a) - lengthOf(b)) || a - b);
}

// A table of the groups of what the filters leave; returns what the open group leaves of that.
function grouped(indices) {
  const box = root.querySelector(".groups");
  if (!views.group.value) {
    box.replaceChildren();
    return indices;
  }
  const groups = new Map();
  for (const index of indices) {
    const name = groupOf(data.entries[index]);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(index);
  }
  const plain = (name) => name.replace(/(\d),(?=\d{3})/g, "$1");
  const names = [...groups.keys()].sort((a, b) => plain(a).localeCompare(plain(b), "en", { numeric: true }));
  box.replaceChildren(groupTable(names.slice(0, SHOWN_GROUPS), groups));
  if (names.length > SHOWN_GROUPS) box.append(element("p", "note", `${plural(names.length - SHOWN_GROUPS)} more groups are not listed.`));
  return chosen.group === null ? indices : groups.get(chosen.group) ?? [];
}

function groupTable(names, groups) {
  const table = element("table", "group-table");
  const titles = [views.group.selectedOptions[0].textContent, "Examples", ...answerTitles()];
  const head = table.createTHead().insertRow();
  for (const [column, title] of titles.entries()) {
    const cell = element("th", column ? "" : "text", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const name of names) {
    const row = body.insertRow();
    const cell = element("th");
    cell.scope = "row";
    const button = element("button", "jump", name || "empty");
    button.type = "button";
    button.setAttribute("aria-pressed", String(chosen.group === name));
    button.addEventListener("click", () => {
      chosen.group = chosen.group === name ? null : name;
      filter();
    });
    cell.append(button);
    row.append(cell);
    for (const text of [plural(groups.get(name).length), ...shares(groups.get(name))]) {
      row.append(element("td", "", text));
    }
  }
  const scroll = element("div", "scroll");
  scroll.append(table);
  return scroll;
}

const sides = () => (data.entries.length ? data.entries[0].outcomes.length : 1);
const answerTitles = () => (sides() === 1 ? ["Right"] : data.runs.map((label) => `Right, ${label}`));

// How many of a group are right, in each of the runs that a card shows.
function shares(indices) {
  return Array.from({ length: sides() }, (_, side) => {
    const right = indices.filter((index) => data.entries[index].outcomes[side].class === "correct").length;
    return `${plural(right)} (${((100 * right) / indices.length).toFixed(1)}\u202f%)`;
  });
}

const linkTo = (item) => `#item=${encodeURIComponent(item.id)}`;

// Shows what the fragment of the address links to; true where it links to an item of this page.
function openLinked() {
  const found = /^#item=(.+)$/.exec(location.hash);
  let id = null;
  try { id = found && decodeURIComponent(found[1]); } catch { /* no text of ours */ }
  if (id === null || !data.items.some((item) => item.id === id)) return false;
  clearFilters({}, id);
  list.firstElementChild.focus({ preventScroll: true });
  list.firstElementChild.scrollIntoView({ block: "start" });
  return true;
}
