// The examples: JSON, compressed, in this file. All text comes from models and datasets and enters the page through
// textContent only.
async function unpack(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

const root = document.getElementById("examples");
const plural = (n) => n.toLocaleString("en");
const data = await unpack("example-data");
const texts = new Array(data.entries.length);

// Everything of an entry that the search looks at, in lower case.
function searchable(index) {
  if (texts[index] === undefined) {
    const entry = data.entries[index];
    const item = data.items[entry.item];
    const parts = [item.id, item.prompt, item.gold];
    for (const o of entry.outcomes) {
      parts.push(o.predicted, o.lenient, o.rule);
      parts.push(o.segments.map((segment) => (segment[0] === "cut" ? "\n" : segment[1])).join(""));
    }
    texts[index] = parts.filter(Boolean).join("\n").toLowerCase();
  }
  return texts[index];
}

// Prepared while nothing else happens, so that the first search does not wait either.
function prepareSearch(from = 0) {
  const idle = window.requestIdleCallback || ((call) => setTimeout(() => call({ timeRemaining: () => 8 }), 30));
  idle((deadline) => {
    let index = from;
    while (index < texts.length && (index % 50 !== 0 || index === from || deadline.timeRemaining() > 2)) searchable(index++);
    if (index < texts.length) prepareSearch(index);
  });
}
