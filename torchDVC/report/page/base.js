"use strict";
// What all sections of the page share: its data, elements, numbers, tables, and the codecs' colours.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
const clipOf = (item) => [item.dataset, item.sequence].filter(Boolean).join(" / ");

const codecs = unique([...data.points, ...Object.values(data.means).flat()].map((item) => item.codec));
const styles = Object.fromEntries(codecs.map((codec, index) => [codec, styleOf(index)]));
const hiddenCodecs = new Set();
const redraws = [];

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function number(value, digits) {
  const exactly = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value === null || value === undefined ? "" : value.toLocaleString("en", exactly);
}

function signed(value) {
  return `${value > 0 ? "+" : value < 0 ? "\u2212" : ""}${number(Math.abs(value), 1)}`;
}

// A quality with the digits that tell two codecs apart: SSIM is near 1, PSNR is in dB.
function quality(value, metric) {
  return number(value, metric.startsWith("ms_ssim") ? 4 : 2);
}

// A cell of a csv file: numbers with three significant digits behind the point, and groups of three before it.
function rounded(text) {
  const value = Number(text);
  if (text === "" || !Number.isFinite(value)) return text;
  return Number.isInteger(value) ? number(value, 0) : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

function options(select, values) {
  select.replaceChildren(...values.map(([value, text]) => element("option", { value }, text)));
}

// header: [title, numeric?]; lines: arrays of cells (text, element, or {text, kind}); a line may carry .mean.
function table(header, lines) {
  const cell = (name, content, numeric) => {
    const { text, kind } = content && content.kind !== undefined ? content : { text: content, kind: "" };
    return element(name, { class: [numeric ? "number" : "", kind].join(" ").trim() }, text ?? "");
  };
  const head = element("tr", {}, ...header.map(([title, numeric]) => cell("th", title, numeric)));
  const body = lines.map((line) => {
    const row = element("tr", {}, ...line.map((content, index) => cell("td", content, header[index][1])));
    if (line.mean) row.className = "mean";
    return row;
  });
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

// A table in a box of its own that scrolls sideways, by keys too, and shows at its edges that there is more.
function putTable(box, header, lines) {
  box.classList.add("scroll");
  box.tabIndex = 0;
  box.setAttribute("role", "region");
  box.replaceChildren(table(header, lines));
}

function codecCell(codec) {
  return { kind: "codec", text: element("span", {}, swatch(styles[codec]), codec) };
}

function showLegend(container, shown) {
  container.replaceChildren(...shown.map((codec) => {
    const state = { type: "button", "aria-pressed": !hiddenCodecs.has(codec) };
    const button = element("button", state, swatch(styles[codec]), codec);
    button.addEventListener("click", () => {
      hiddenCodecs.has(codec) ? hiddenCodecs.delete(codec) : hiddenCodecs.add(codec);
      redraws.forEach((redraw) => redraw());
    });
    return button;
  }));
}

function styled(series) {
  return series.filter(({ name }) => !hiddenCodecs.has(name)).map((one) => ({ ...one, style: styles[one.name] }));
}

// Numbers by their value where a name is one, and after that names by letter.
function inOrder(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}
