// Tables that a heading sorts, and that can be saved.
{
  /** The number that a text begins with; texts without one come last. */
  function number(text) {
    const found = text.replace("−", "-").match(/^[<+ ]*(-?\d+(\.\d+)?)/);
    return found ? Number(found[1]) : null;
  }

  function sort(table, column, button) {
    const body = table.tBodies[0];
    const falling = button.parentElement.getAttribute("aria-sort") === "descending";
    for (const head of table.querySelectorAll("th[aria-sort]")) head.removeAttribute("aria-sort");
    button.parentElement.setAttribute("aria-sort", falling ? "ascending" : "descending");
    const direction = falling ? 1 : -1;
    const key = (row) => row.cells[column].textContent;
    const rows = [...body.rows];
    const filled = rows.filter((row) => key(row) !== "");
    const numeric = filled.length > 0 && filled.every((row) => number(key(row)) !== null);
    rows.sort((one, other) => {
      if (!numeric) return direction * key(one).localeCompare(key(other));
      const [first, second] = [number(key(one)), number(key(other))];
      if (first === null || second === null) return (first === null) - (second === null);
      return direction * (first - second);
    });
    body.append(...rows);
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = made("button", { type: "button" }, head.textContent);
      button.addEventListener("click", () => sort(table, column, button));
      head.replaceChildren(button);
    });
  }
  for (const button of document.querySelectorAll("button.csv")) {
    button.addEventListener("click", () => {
      const { name } = button.dataset;
      const url = URL.createObjectURL(new Blob([page.csv[name]], { type: "text/csv" }));
      made("a", { href: url, download: `${name}.csv` }).click();
      URL.revokeObjectURL(url);
    });
  }
}
