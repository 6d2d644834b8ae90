// Tables sort by a click on a header, or Enter or Space on it: upwards, downwards, as printed. Missing values stay last.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const printed = Array.from(body.rows);
  const heads = Array.from(table.tHead.rows[0].cells);
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
