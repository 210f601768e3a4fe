// Sorting by a title and searching in the table of runs.
const root = document.getElementById("runs");
const body = root.querySelector("tbody");
const rows = [...body.rows];
const search = document.getElementById("runs-search");

function value(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value || "-Infinity") : cell.textContent.trim().toLowerCase();
}

// Numbers begin with the largest, text with the first of the alphabet; a second press turns the order round.
function sort(head) {
  const column = head.cellIndex;
  const numbers = "value" in rows[0].cells[column].dataset;
  const start = numbers || rows[0].cells[column].classList.contains("when") ? "descending" : "ascending";
  const other = start === "ascending" ? "descending" : "ascending";
  const order = head.getAttribute("aria-sort") === start ? other : start;
  for (const each of root.querySelectorAll("th[aria-sort]")) each.setAttribute("aria-sort", each === head ? order : "none");
  const sign = order === "ascending" ? 1 : -1;
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  rows.sort((a, b) => sign * compare(value(a, column), value(b, column)));
  body.append(...rows);
}

function filter() {
  const words = search.value.toLowerCase().trim().split(/\s+/);
  const textOf = (row) => `${row.textContent} ${row.querySelector("[title]").title}`.toLowerCase();
  for (const row of rows) row.hidden = !words.every((word) => textOf(row).includes(word));
  const left = rows.filter((row) => !row.hidden).length;
  root.querySelector("output").textContent = left === rows.length ? `${left} runs` : `${left} of ${rows.length} runs`;
  root.querySelector(".empty").hidden = left > 0;
}

for (const head of root.querySelectorAll("th[aria-sort]")) head.querySelector("button").addEventListener("click", () => sort(head));
search.addEventListener("input", filter);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === search) return;
  if (event.key === "/") { event.preventDefault(); search.focus(); }
  if (event.key === "t") document.getElementById("theme").click();
});
filter();
