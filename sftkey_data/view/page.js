// Pages through the examples. Their text comes from datasets: it enters the page through textContent only.
"use strict";
(() => {
  const PAGE = 10;
  const HEAD = 400, TAIL = 250; // tokens shown of a longer example: the Key stands at the end
  const data = JSON.parse(document.getElementById("data").textContent);
  const examples = data.examples;
  const count = examples.id.length;
  const total = count + data.rejects.length; // an index from `count` on is a reject
  const tokenized = examples.widths !== undefined;
  const at = (name) => document.getElementById(name);
  const controls = Object.fromEntries([...document.querySelectorAll("[data-filter]")].map((c) => [c.dataset.filter, c]));
  const texts = new Map();
  let shown = [];
  let page = 0;
  let mode = tokenized ? "tokens" : "text";

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
      const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
      const mark = document.createElement("span");
      mark.className = "ctl";
      mark.textContent = `\u27e8U+${code}\u27e9`;
      parts.push(text.slice(from, found.index), mark);
      from = found.index + found[0].length;
    }
    parts.push(text.slice(from));
    return parts;
  }

  // Regions of an example's text: [region, start, end] in prompt + completion.
  function regions(index) {
    const shift = examples.prompt[index].length;
    const [cotStart, cotEnd, keyStart, keyEnd] = examples.spans[index].map((n) => n + shift);
    const end = shift + examples.completion[index].length;
    const all = [["prompt", 0, shift], ["tag", shift, cotStart], ["cot", cotStart, cotEnd], ["tag", cotEnd, keyStart], ["key", keyStart, keyEnd], ["tag", keyEnd, end]];
    return all.filter(([, start, stop]) => stop > start);
  }

  function key(index) {
    const [, , start, end] = examples.spans[index];
    return examples.completion[index].slice(start, end);
  }

  function regionOfToken(borders, position) {
    const [prompt, cotEnd, keyStart, keyEnd, answerEnd] = borders;
    if (position >= keyStart && position < keyEnd) return "key";
    if (position < prompt) return "prompt";
    if (position < cotEnd) return "cot";
    return position < answerEnd ? "tag" : "eos";
  }

  // Lengths in the manifest's unit: tokens, or characters where there is no tokenizer.
  function lengths(index) {
    if (tokenized) {
      const [prompt, , keyStart, keyEnd] = examples.borders[index];
      const all = examples.widths[index].length;
      return { all, completion: all - prompt, key: keyEnd - keyStart };
    }
    const completion = [...examples.completion[index]].length;
    return { all: completion + [...examples.prompt[index]].length, completion, key: [...key(index)].length };
  }
  const sizes = examples.id.map((_, index) => lengths(index));

  function token(text, region, title) {
    const node = element("span", `tok r-${region}`);
    const lines = text.split("\n");
    lines.forEach((line, i) => node.append(...(i ? [element("i", "nl")] : []), ...visible(line)));
    node.dataset.region = region;
    if (title) node.title = title;
    return [node, "\n".repeat(lines.length - 1)]; // line breaks stand after the box, which they would tear
  }

  function tokenNodes(index, from, to) {
    const text = examples.prompt[index] + examples.completion[index];
    const [, , keyStart, keyEnd] = examples.spans[index];
    const prompt = examples.prompt[index].length;
    const edges = [prompt, prompt + keyStart, prompt + keyEnd];
    const borders = examples.borders[index];
    const nodes = [];
    let start = 0;
    examples.widths[index].forEach((width, position) => {
      const end = start + width;
      if (position >= from && position < to) {
        const region = regionOfToken(borders, position);
        const special = width ? undefined : position < data.prefix.length ? data.prefix[position] : region === "eos" ? data.eos : "\u00b7";
        const crosses = edges.some((edge) => start < edge && edge < end);
        const title = `token ${position}, ${region}` + (special === "\u00b7" ? ", rest of the character before" : "") + (crosses ? ", crosses a border" : "");
        const [node, rest] = token(special === undefined ? text.slice(start, end) : special, region, title);
        if (special !== undefined) node.classList.add(special === "\u00b7" ? "part" : "special");
        if (crosses) node.classList.add("crosses");
        nodes.push(node, rest);
      }
      start = end;
    });
    return nodes;
  }

  function textNodes(index) {
    const text = examples.prompt[index] + examples.completion[index];
    return regions(index).map(([region, start, end]) => {
      const node = element("span", `r-${region}`, text.slice(start, end));
      node.dataset.region = region;
      return node;
    });
  }

  function more(label, fill) {
    const button = element("button", "more", label);
    button.type = "button";
    button.addEventListener("click", () => {
      const nodes = fill();
      button.replaceWith(...nodes);
      at("list").focus({ preventScroll: true });
    });
    return button;
  }

  function body(index) {
    if (mode === "text") {
      const pre = element("pre", "text");
      pre.append(...textNodes(index));
      return pre;
    }
    const pre = element("pre", "tokens");
    const all = examples.widths[index].length;
    if (all <= HEAD + TAIL + 50) {
      pre.append(...tokenNodes(index, 0, all));
      return pre;
    }
    const hidden = (all - HEAD - TAIL).toLocaleString("en");
    pre.append(
      ...tokenNodes(index, 0, HEAD),
      more(`\u2026 ${hidden} tokens more`, () => tokenNodes(index, HEAD, all - TAIL)),
      ...tokenNodes(index, all - TAIL, all),
    );
    return pre;
  }

  function straddleNames(bits) {
    return Object.entries(data.straddles).filter(([bit]) => bits & bit).map(([, name]) => name);
  }

  function leftOut(index) {
    return data.left_out[examples.id[index]] || [];
  }

  function exampleCard(index) {
    const node = element("li", "example");
    const header = element("header");
    const size = sizes[index];
    const share = ((100 * size.key) / size.completion).toFixed(1);
    header.append(
      element("h2", "", examples.id[index]),
      element("span", "chip", examples.answer_type[index]),
      element("span", "chip", `Key: ${key(index)}`),
      element("span", "chip", `${size.all.toLocaleString("en")} ${data.unit}`),
      element("span", "chip", `Key ${size.key} of ${size.completion.toLocaleString("en")} (${share} %)`),
    );
    if (tokenized) for (const name of straddleNames(examples.straddle[index])) header.append(element("span", "chip alarm", `straddles: ${name}`));
    node.append(header, body(index));
    const options = examples.choices[index];
    if (options) node.append(element("p", "options", "Options: " + options.map((text, i) => `(${String.fromCharCode(65 + i)}) ${text}`).join("  ")));
    for (const [name, text] of leftOut(index)) node.append(element("p", "options left-out", `Left out of the row, ${name}: ${text}`));
    return node;
  }

  function rejectCard(reject) {
    const node = element("li", "example reject");
    const header = element("header");
    header.append(element("h2", "", reject.id), element("span", "chip alarm", `rejected: ${reject.reason}`));
    node.append(header, element("p", "detail", reject.detail));
    const pre = element("pre", "row", reject.row.slice(0, 2000));
    if (reject.row.length > 2000) pre.append(more("\u2026 Show all", () => visible(reject.row.slice(2000))));
    node.append(pre);
    return node;
  }

  function part(index, name) {
    if (index >= count) {
      const reject = data.rejects[index - count];
      return name === "id" ? reject.id : name === "" ? [reject.id, reject.reason, reject.detail, reject.row].join("\n") : "";
    }
    if (name === "id" || name === "prompt") return examples[name][index];
    const [cotStart, cotEnd] = examples.spans[index];
    if (name === "cot") return examples.completion[index].slice(cotStart, cotEnd);
    if (name === "key") return key(index);
    return [examples.id[index], examples.prompt[index] + examples.completion[index], ...(examples.choices[index] || []), ...leftOut(index).flat()].join("\n");
  }

  function searchable(index, name) {
    if (!texts.has(name)) texts.set(name, []);
    const known = texts.get(name);
    if (known[index] === undefined) known[index] = part(index, name).toLowerCase();
    return known[index];
  }

  function straddles(index, wanted) {
    const bits = examples.straddle[index];
    return wanted === "" || (wanted === "some" ? bits !== 0 : wanted === "none" ? bits === 0 : (bits & wanted) !== 0);
  }

  function fits(index, want) {
    if (index >= count) {
      const needsExample = want.straddle || want.type || want.length || (want.in && want.in !== "id");
      if (want.rows === "examples" || needsExample) return false;
      return want.reason === "" || data.rejects[index - count].reason === want.reason;
    }
    if (want.rows === "rejects" || want.reason) return false;
    const [least, most] = want.length ? want.length.split("-").map(Number) : [0, Infinity];
    const size = sizes[index].all;
    return (
      (want.type === "" || examples.answer_type[index] === want.type) &&
      (want.straddle === "" || straddles(index, want.straddle)) &&
      size >= least && size <= (most || Infinity)
    );
  }

  const ORDERS = {
    long: (a, b) => sizes[b].all - sizes[a].all,
    short: (a, b) => sizes[a].all - sizes[b].all,
    share: (a, b) => sizes[b].key / sizes[b].completion - sizes[a].key / sizes[a].completion,
  };

  function filter() {
    const want = Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value]));
    const words = want.search.toLowerCase().trim();
    shown = [];
    for (let index = 0; index < total; index++) {
      if (fits(index, want) && (words === "" || searchable(index, want.in).includes(words))) shown.push(index);
    }
    if (want.sort) {
      const rejects = shown.filter((index) => index >= count);
      shown = shown.filter((index) => index < count).sort(ORDERS[want.sort]).concat(rejects);
    }
    page = 0;
    render();
  }

  const lastPage = () => Math.max(0, Math.ceil(shown.length / PAGE) - 1);
  const targets = { first: () => 0, previous: () => page - 1, next: () => page + 1, last: lastPage };

  function render() {
    const number = (n) => n.toLocaleString("en");
    const first = page * PAGE;
    const cards = shown.slice(first, first + PAGE).map((index) => (index < count ? exampleCard(index) : rejectCard(data.rejects[index - count])));
    at("list").replaceChildren(...cards);
    at("empty").hidden = cards.length > 0;
    const range = cards.length ? `${number(first + 1)}\u2013${number(first + cards.length)} of ${number(shown.length)}` : "0";
    at("status").textContent = `Showing ${range}` + (shown.length === total ? "" : ` (${number(total)} in all)`);
    for (const button of document.querySelectorAll("[data-page]")) {
      const target = targets[button.dataset.page]();
      button.disabled = target < 0 || target > lastPage() || target === page;
    }
    for (const button of at("modes").children) button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
  }

  function turn(name) {
    const target = targets[name]();
    if (target < 0 || target > lastPage() || target === page) return;
    page = target;
    render();
    at("status").parentElement.scrollIntoView({ block: "start" });
  }

  function choose(next) {
    if (!tokenized) return;
    mode = next;
    render();
  }

  function clear() {
    at("filters").reset();
    filter();
  }

  function option(select, value, label) {
    const node = element("option", "", label);
    node.value = value;
    select.append(node);
  }

  function tally(values) {
    const found = new Map();
    for (const value of values) found.set(value, (found.get(value) || 0) + 1);
    return [...found].sort((a, b) => b[1] - a[1]);
  }

  function fillFilters() {
    for (const [type, n] of tally(examples.answer_type)) option(controls.type, type, `${type} (${n.toLocaleString("en")})`);
    for (const [reason, n] of tally(data.rejects.map((reject) => reject.reason))) option(controls.reason, reason, `${reason} (${n.toLocaleString("en")})`);
    if (tokenized) {
      for (const [bit, name] of Object.entries(data.straddles)) {
        const n = examples.straddle.filter((bits) => bits & bit).length;
        option(controls.straddle, bit, `${name} (${n.toLocaleString("en")})`);
      }
    }
    const sorted = sizes.map((size) => size.all).sort((a, b) => a - b);
    const quantile = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    if (count) {
      for (const [share, label] of [[0.95, "longest 5 %"], [0.99, "longest 1 %"]]) option(controls.length, `${quantile(share)}-`, `${label}: from ${quantile(share)} ${data.unit}`);
      option(controls.length, `0-${quantile(0.05)}`, `shortest 5 %: to ${quantile(0.05)} ${data.unit}`);
    }
    for (const [name, control] of Object.entries(controls)) {
      const useless = (name === "straddle" && !tokenized) || (name === "reason" && !data.rejects.length);
      control.parentElement.hidden = useless;
    }
    at("eos-legend").hidden = at("modes").hidden = !tokenized;
  }

  function fillFacts() {
    for (const [name, value] of Object.entries(data.facts)) {
      const box = element("div");
      box.append(element("dt", "", name), element("dd", "", value));
      at("facts").append(box);
    }
    const cuts = [];
    if (count < data.written) cuts.push(`the first ${count.toLocaleString("en")} of ${data.written.toLocaleString("en")} examples`);
    if (data.rejects.length < data.rejected) cuts.push(`the first ${data.rejects.length.toLocaleString("en")} of ${data.rejected.toLocaleString("en")} rejects`);
    at("cut").hidden = !cuts.length;
    at("cut").textContent = `Cut: this page holds ${cuts.join(" and ")}.`;
  }

  function debounced(call, ms) {
    let timer;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(call, ms);
    };
  }

  const KEYS = { ArrowLeft: "previous", ArrowRight: "next", Home: "first", End: "last" };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      if (event.key === "Escape" && document.activeElement === controls.search) {
        controls.search.value = "";
        controls.search.blur();
        filter();
      }
      return;
    }
    if (KEYS[event.key]) turn(KEYS[event.key]);
    else if (event.key === "/") controls.search.focus();
    else if (event.key === "t") choose(mode === "tokens" ? "text" : "tokens");
    else return;
    event.preventDefault();
  });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const [name, control] of Object.entries(controls)) control.addEventListener("input", name === "search" ? debounced(filter, 120) : filter);
  for (const button of document.querySelectorAll("[data-page]")) button.addEventListener("click", () => turn(button.dataset.page));
  for (const button of at("modes").children) button.addEventListener("click", () => choose(button.dataset.mode));
  at("clear").addEventListener("click", clear);

  fillFilters();
  fillFacts();
  filter();
})();
