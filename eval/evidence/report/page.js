// Tables sort by a click on a header, or Enter or Space on it: upwards, downwards, as printed. Missing values stay last.
// Details open when a link leads to them, and for printing.
"use strict";
const unfold = (element) => {
  const details = element && (element.querySelector("details") || element.closest("details"));
  if (details) details.open = true;
};
const follow = () => unfold(location.hash && document.getElementById(location.hash.slice(1)));
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => (details.open = true)));
document.querySelectorAll('nav a').forEach((link) =>
  link.addEventListener("click", () => unfold(document.getElementById(link.hash.slice(1)))));
follow();
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const printed = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const next = now === "ascending" ? "descending" : now === "descending" ? null : "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (next) head.setAttribute("aria-sort", next);
      body.append(...(next ? sorted(printed, column, head.className === "number", next) : printed));
    });
  });
}

function sorted(rows, column, numeric, direction) {
  const value = (row) => row.cells[column].dataset.value;
  const sign = direction === "ascending" ? 1 : -1;
  const order = (a, b) => (numeric ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
  return rows.slice().sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * order(a, b);
  });
}
