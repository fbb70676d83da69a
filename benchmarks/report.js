"use strict";
// Sliders of pictures, sorting of tables, tables as CSV: the page is whole without it.

for (const slider of document.querySelectorAll(".compare input")) {
  const show = () => slider.parentElement.style.setProperty("--at", slider.value + "%");
  slider.addEventListener("input", show);
  show();
}

const number = (text) => (text === "" ? NaN : Number(text));

// Numbers by size, all else as a person would; what is empty comes last either way.
function compare(a, b, sign) {
  if (a === "" || b === "") return (a === "") - (b === "");
  const [x, y] = [number(a), number(b)];
  if (!isNaN(x) && !isNaN(y)) return sign * (x - y);
  return sign * a.localeCompare(b, "en", { numeric: true });
}

function sort(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const order = header.ariaSort === "ascending" ? "descending" : "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const key = (row) => row.cells[column].dataset.value;
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => compare(key(a), key(b), order === "ascending" ? 1 : -1));
  table.tBodies[0].append(...rows);
  document.getElementById("announce").textContent = `${table.caption.textContent}: sorted by ${header.dataset.name}, ${order}`;
}

for (const header of document.querySelectorAll("th")) {
  header.querySelector("button").addEventListener("click", () => sort(header));
}

const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function csv(table) {
  const names = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.name);
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.dataset.value));
  return [names, ...rows].map((row) => row.map(quoted).join(",") + "\r\n").join("");
}

for (const button of document.querySelectorAll(".csv")) {
  button.addEventListener("click", () => {
    const table = document.getElementById(button.dataset.table);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff" + csv(table)], { type: "text/csv" }));
    link.download = table.dataset.file;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}
