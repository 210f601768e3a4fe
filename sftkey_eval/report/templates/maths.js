// LaTeX, set by KaTeX where the page carries it. The source is shown instead on demand, and wherever KaTeX refuses it.
const MATHS = new RegExp(
  [
    String.raw`\$\$([^$]+?)\$\$`,
    String.raw`\\\[([^]+?)\\\]`,
    String.raw`(\\begin\{((?:align|gather|equation)\*?|[bpvV]?matrix|cases)\}[^]+?\\end\{\4\})`,
    String.raw`\\\(([^]+?)\\\)`,
    String.raw`\$(?!\s)((?:[^$\\\n]|\\.)+?)(?<!\s)\$(?!\d)`, // no sum of money: "$5 and $10" begins a number after it
  ].join("|"),
  "g",
);
const LONGEST_MATHS = 3000; // characters; beyond it setting would be slow
const OPTIONS = { throwOnError: true, trust: false, errorColor: "currentColor", strict: "ignore", maxExpand: 200, maxSize: 20 };
let katexAt = null;
let sourceShown = false;

// The policy of the page names the digest of this one script; nothing else that is added to the page may run.
async function loadMaths() {
  if (!document.getElementById("katex-files")) return;
  const { script, style } = await unpack("katex-files");
  for (const [tag, text] of [["style", style], ["script", script]]) {
    document.head.append(Object.assign(document.createElement(tag), { textContent: text }));
  }
  katexAt = window.katex || null;
}

function set(source, tex, displayMode) {
  const node = document.createElement("span");
  node.className = "maths";
  try {
    katexAt.render(tex, node, { ...OPTIONS, displayMode });
  } catch {
    return visible(source);
  }
  node.title = source;
  return [node];
}

// Text as nodes, with its formulas set.
function withMaths(text) {
  if (!katexAt || sourceShown) return visible(text);
  const nodes = [];
  let from = 0;
  for (const found of text.matchAll(MATHS)) {
    const [source, dollars, brackets, environment, , parentheses, dollar] = found;
    const tex = dollars ?? brackets ?? environment ?? parentheses ?? dollar;
    const isProse = dollar !== undefined && !dollar.includes("\\") && /[A-Za-z]{3,}\s+[A-Za-z]{2,}/.test(dollar);
    if (isProse || source.length > LONGEST_MATHS || source.search(CONTROL) >= 0) continue;
    nodes.push(...visible(text.slice(from, found.index)), ...set(source, tex, parentheses === undefined && dollar === undefined));
    from = found.index + source.length;
  }
  nodes.push(...visible(text.slice(from)));
  return nodes;
}

// An answer as nodes: LaTeX without any marks around it.
function answerNodes(text) {
  const isMaths = /\\[a-zA-Z]|\^|_[{\d]/.test(text) && !text.includes("$") && !/\\[([]/.test(text);
  if (!katexAt || sourceShown || !isMaths || text.length > 400 || text.search(CONTROL) >= 0) return withMaths(text);
  return set(text, text, false);
}
