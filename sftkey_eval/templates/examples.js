// The browser of examples. All text comes from models and datasets: it enters the page through textContent only.
"use strict";
(() => {
  const PAGE = 20;
  const data = JSON.parse(document.getElementById("example-data").textContent);
  const root = document.getElementById("examples");
  const list = root.querySelector(".examples");
  const controls = Object.fromEntries([...root.querySelectorAll("[data-filter]")].map((c) => [c.dataset.filter, c]));
  const texts = new Array(data.entries.length);
  let shown = [];
  let page = 0;

  const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

  function element(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.append(...visible(text));
    return node;
  }

  // Control and direction characters become a visible code, so that they can neither hide nor reorder text.
  function visible(text) {
    const parts = [];
    let from = 0;
    for (const found of text.matchAll(CONTROL)) {
      parts.push(text.slice(from, found.index));
      const code = document.createElement("span");
      code.className = "ctl";
      code.textContent = "\u27e8U+" + found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9";
      parts.push(code);
      from = found.index + found[0].length;
    }
    parts.push(text.slice(from));
    return parts;
  }

  function searchable(index) {
    if (texts[index] === undefined) {
      const entry = data.entries[index];
      const item = data.items[entry.item];
      const outcomes = entry.outcomes.flatMap((o) => [o.predicted, o.lenient, o.rule, o.segments.map((s) => s[1]).join("")]);
      texts[index] = [item.id, item.prompt, item.gold, ...outcomes].filter(Boolean).join("\n").toLowerCase();
    }
    return texts[index];
  }

  function wanted(name) {
    return controls[name] ? controls[name].value : "";
  }

  function filter() {
    const [run, kind, code, change] = ["run", "class", "code", "change"].map(wanted);
    const words = wanted("search").toLowerCase().trim();
    shown = [];
    data.entries.forEach((entry, index) => {
      const outcomes = entry.outcomes.filter((o) => run === "" || String(o.run) === run);
      const matches =
        outcomes.some((o) => (kind === "" || o.class === kind || (kind === "lucky" && o.lucky)) && (code === "" || o.code === code)) &&
        (change === "" || entry.changes.includes(change)) &&
        (words === "" || searchable(index).includes(words));
      if (matches) shown.push(index);
    });
    page = 0;
    render();
  }

  function answer(label, value, className, fallback) {
    const box = element("div", className);
    box.append(element("dt", "", label));
    const missing = value === null || value === undefined || value === "";
    box.append(missing ? element("dd", "none", fallback || "none") : element("dd", "", value));
    return box;
  }

  function folding(pre) {
    const nodes = [pre];
    const long = pre.textContent.length > 1100 || pre.textContent.split("\n").length > 14;
    if (long) {
      pre.classList.add("clipped");
      const more = element("button", "button more", "Show all");
      more.type = "button";
      more.setAttribute("aria-expanded", "false");
      more.addEventListener("click", () => {
        const open = pre.classList.toggle("clipped") === false;
        more.textContent = open ? "Show less" : "Show all";
        more.setAttribute("aria-expanded", String(open));
      });
      nodes.push(more);
    }
    return nodes;
  }

  function completion(outcome) {
    const pre = element("pre", "text completion");
    if (outcome.segments.length === 0) pre.append(element("span", "none", "(empty completion)"));
    for (const [region, text] of outcome.segments) {
      const part = element("span", "g-" + region, text);
      if (region !== "text") part.dataset.region = region;
      pre.append(part);
    }
    return pre;
  }

  function chip(outcome) {
    const node = element("span", "chip");
    node.append(element("span", "swatch c-" + outcome.class), data.classes[outcome.class]);
    if (outcome.lucky) node.append(" \u00b7 lucky");
    return node;
  }

  function outcomeView(item, outcome) {
    const box = element("div", "outcome");
    const finish = outcome.finish ? " \u00b7 finish: " + outcome.finish : "";
    const head = element("p", "part");
    head.append(...visible(data.runs[outcome.run]), " \u00b7 ", chip(outcome), finish);
    const pre = completion(outcome);
    const answers = element("dl", "answers");
    const format = outcome.code ? "malformed: " + outcome.code : "valid";
    answers.append(
      answer("Gold", item.gold, "gold"),
      answer("Predicted", outcome.predicted, "predicted", outcome.code ? "none (malformed)" : "none"),
      answer("Verdict", outcome.verdict),
      answer("Rule", outcome.rule),
      answer("Format", format),
      answer("Lenient answer", outcome.lenient),
      answer("CoT ends at", outcome.cot_value),
    );
    box.append(head, ...folding(pre), answers);
    return box;
  }

  function card(entry) {
    const item = data.items[entry.item];
    const node = element("li", "example");
    const header = element("header");
    header.append(element("h3", "", item.id));
    for (const change of entry.changes) header.append(element("span", "pill p-" + change, data.changes[change]));
    node.append(header, element("p", "part", "Prompt"));
    node.append(...folding(element("pre", "text prompt", item.prompt || "(the file has no prompts)")));
    if (item.choices && !item.choices.every((c) => item.prompt.includes(c))) node.append(element("p", "part", "Choices: " + item.choices.map((c, i) => "(" + String.fromCharCode(65 + i) + ") " + c).join("  ")));
    const outcomes = element("div", "outcomes");
    outcomes.append(...entry.outcomes.map((o) => outcomeView(item, o)));
    node.append(outcomes);
    return node;
  }

  function render() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    const first = page * PAGE;
    const cards = shown.slice(first, first + PAGE).map((index) => card(data.entries[index]));
    list.replaceChildren(...cards);
    root.querySelector(".empty").hidden = cards.length > 0;
    const range = cards.length ? `${first + 1}\u2013${first + cards.length} of ${shown.length}` : "0";
    for (const status of root.querySelectorAll("output")) status.textContent = `Showing ${range} (${data.entries.length} in all)`;
    for (const button of root.querySelectorAll("[data-step]")) {
      const target = page + Number(button.dataset.step);
      const last = target < 0 || target >= pages;
      if (last && button === document.activeElement) root.querySelector(`.pager [data-step="${-button.dataset.step}"]`).focus();
      button.disabled = last;
    }
  }

  function turn(step) {
    page += step;
    render();
    root.querySelector(".pager").scrollIntoView({ block: "start" });
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
  for (const button of root.querySelectorAll("[data-step]")) button.addEventListener("click", () => turn(Number(button.dataset.step)));
  for (const button of document.querySelectorAll("button.jump")) {
    button.addEventListener("click", () => {
      for (const [name, control] of Object.entries(controls)) control.value = button.dataset[name] || "";
      filter();
      root.scrollIntoView({ block: "start" });
      controls.search.focus({ preventScroll: true });
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      controls.search.focus();
    }
    if (event.key === "Escape" && document.activeElement === controls.search && controls.search.value) {
      controls.search.value = "";
      filter();
    }
  });
  filter();
})();
