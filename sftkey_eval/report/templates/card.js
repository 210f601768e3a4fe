// One item as a card: question, gold beside predicted, the rule that decided, the completion by region.
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

// Control and direction characters become a visible code, so that they can neither hide nor reorder text.
function visible(text) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(CONTROL)) {
    const code = document.createElement("span");
    code.className = "ctl";
    code.textContent = "\u27e8U+" + found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "\u27e9";
    parts.push(text.slice(from, found.index), code);
    from = found.index + found[0].length;
  }
  parts.push(text.slice(from));
  return parts;
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.append(...(typeof text === "string" ? visible(text) : text));
  return node;
}

function fact(label, value, className, fallback = "none", nodes = visible) {
  const box = element("div", className);
  const missing = value === null || value === undefined || value === "";
  box.append(element("dt", "", label), missing ? element("dd", "none", fallback) : element("dd", value.length > 160 ? "clip" : "", nodes(value)));
  return box;
}

// A fact that is somebody's text, and may be a formula.
function answer(label, value, className, fallback) {
  return fact(label, value, className, fallback, answerNodes);
}

function folding(pre) {
  const long = pre.textContent.length > 1100 || pre.textContent.split("\n").length > 14;
  if (!long) return [pre];
  pre.classList.add("clipped");
  const more = element("button", "button more", "Show all");
  more.type = "button";
  more.setAttribute("aria-expanded", "false");
  more.addEventListener("click", () => {
    const open = !pre.classList.toggle("clipped");
    more.textContent = open ? "Show less" : "Show all";
    more.setAttribute("aria-expanded", String(open));
  });
  return [pre, more];
}

function completion(outcome) {
  const pre = element("pre", "text completion");
  if (outcome.segments.length === 0) pre.append(element("span", "none", "(empty completion)"));
  for (const [region, text] of outcome.segments) {
    const part = element("span", "g-" + region, region === "key" ? answerNodes(text) : withMaths(text));
    if (region !== "text") part.dataset.region = region;
    pre.append(part);
  }
  return pre;
}

function outcomeHead(outcome) {
  const head = element("p", "outcome-head");
  const chip = element("span", "chip");
  chip.append(element("span", "swatch c-" + outcome.class), data.classes[outcome.class]);
  if (outcome.lucky) chip.append(" \u00b7 lucky");
  head.append(element("span", "run", data.runs[outcome.run]), chip);
  if (outcome.finish) head.append(element("span", "fine", "finish: " + outcome.finish));
  if (outcome.disagree) head.append(element("span", "pill p-disagree", "graders disagree"));
  return head;
}

function decided(outcome) {
  const line = element("p", "decided");
  const tone = outcome.verdict === "correct" ? "right" : outcome.verdict === "wrong" ? "wrong" : "";
  line.append(element("strong", tone, outcome.verdict), ", decided by ", element("code", "rule", outcome.rule));
  if (outcome.code) line.append("; malformed: ", element("code", "", outcome.code));
  return line;
}

function outcomeView(item, outcome) {
  const box = element("div", "outcome");
  const versus = element("dl", "versus");
  const tone = outcome.verdict === "correct" ? " right" : outcome.verdict === "wrong" ? " wrong" : "";
  versus.append(
    answer("Gold", item.gold, "gold"),
    answer("Predicted", outcome.predicted, "predicted" + tone, outcome.code ? "none (malformed)" : "none"),
  );
  const facts = element("dl", "facts");
  if (outcome.code) facts.append(answer("Lenient answer" + (outcome.source ? ` (${outcome.source})` : ""), outcome.lenient), fact("Lenient verdict", outcome.lenient_verdict));
  facts.append(answer("CoT ends at", outcome.cot_value));
  if (outcome.second) facts.append(fact("Second grader", outcome.second), fact("Its rule", outcome.second_rule));
  box.append(outcomeHead(outcome), versus, decided(outcome), ...folding(completion(outcome)), facts);
  return box;
}

function card(entry) {
  const item = data.items[entry.item];
  const node = element("li", "example");
  node.tabIndex = -1;
  const header = element("header");
  const title = element("h3");
  const link = element("a", "", item.id);
  link.href = linkTo(item);
  link.title = "Link to this item";
  title.append(link);
  header.append(title);
  if (item.dataset) header.append(element("span", "pill", item.dataset));
  header.append(element("span", "pill", item.type));
  for (const change of entry.changes) header.append(element("span", "pill p-" + change, data.changes[change]));
  const prompt = item.prompt || "";
  node.append(header, ...folding(element("pre", "text prompt", withMaths(prompt.trimEnd() || "(the file has no prompts)"))));
  if (item.choices && !item.choices.every((choice) => prompt.includes(choice))) {
    const named = item.choices.map((choice, i) => `(${String.fromCharCode(65 + i)}) ${choice}`).join("  ");
    node.append(element("p", "note", withMaths("Choices: " + named)));
  }
  const outcomes = element("div", "outcomes");
  outcomes.append(...entry.outcomes.map((outcome) => outcomeView(item, outcome)));
  node.append(outcomes);
  return node;
}
