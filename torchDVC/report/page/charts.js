"use strict";
// Line charts in SVG: axes, lines, markers, and the nearest point's values in the tip.

const COLOURS = 7; // --series-0 to --series-6 of the style sheet
const DASHES = ["", "8 3", "2 3", "8 3 2 3"];
const SHAPES = {
  circle: "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
  square: "M-4,-4h8v8h-8z",
  triangle: "M0,-5l5,9h-10z",
  diamond: "M0,-5.5l5.5,5.5l-5.5,5.5l-5.5,-5.5z",
  down: "M0,5l5,-9h-10z",
  plus: "M-1.5,-5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
  cross: "M-5,-3l2,-2l3,3l3,-3l2,2l-3,3l3,3l-2,2l-3,-3l-3,3l-2,-2l3,-3z",
};
const MARKERS = Object.keys(SHAPES);
const MARGIN = { top: 12, right: 14, bottom: 44, left: 68 };
const REACH = 48; // pixels from a point at which it is still meant

function drawing(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

function styleOf(index) {
  const pick = (values) => values[index % values.length];
  return { colour: `var(--series-${index % COLOURS})`, dash: pick(DASHES), shape: pick(MARKERS) };
}

function swatch(style) {
  const svg = drawing("svg", { width: 34, height: 12, "aria-hidden": "true" });
  const stroke = { stroke: style.colour, "stroke-width": 2, "stroke-dasharray": style.dash };
  svg.append(
    drawing("line", { x1: 0, y1: 6, x2: 34, y2: 6, ...stroke }),
    drawing("path", { d: SHAPES[style.shape], transform: "translate(17,6)", fill: style.colour }),
  );
  return svg;
}

function linearTicks(low, high, count, least) {
  const raw = Math.max((high - low) / count, least);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((multiple) => power * multiple >= raw);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-6; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const multiple of [1, 2, 5]) ticks.push(Number((multiple * 10 ** power).toPrecision(3)));
  }
  return ticks.filter((tick) => tick >= low && tick <= high);
}

// A scale maps values to pixels; 4 % of room is left at either end, and `least` between ticks.
function scale(values, log, from, to, count, least = 0) {
  const forward = log ? Math.log10 : (value) => value;
  let low = Math.min(...values.map(forward));
  let high = Math.max(...values.map(forward));
  const room = (high - low || Math.abs(high) || 1) * 0.04;
  low -= room;
  high += room;
  const place = (value) => from + ((forward(value) - low) / (high - low)) * (to - from);
  const logarithmic = log ? logTicks(10 ** low, 10 ** high) : [];
  const ends = log ? [10 ** low, 10 ** high] : [low, high];
  place.ticks = logarithmic.length > 1 ? logarithmic : linearTicks(...ends, count, least).filter((tick) => !log || tick > 0);
  return place;
}

function drawAxes(svg, x, y, options, width, height) {
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const text = (value) => (Math.abs(value) >= 10000 ? `${Number((value / 1000).toPrecision(6))}k` : String(value));
  for (const tick of x.ticks) {
    svg.append(drawing("line", { class: "grid", x1: x(tick), x2: x(tick), y1: MARGIN.top, y2: bottom }));
    svg.append(drawing("text", { x: x(tick), y: bottom + 16, "text-anchor": "middle" }, text(tick)));
  }
  for (const tick of y.ticks) {
    svg.append(drawing("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y(tick), y2: y(tick) }));
    svg.append(drawing("text", { x: MARGIN.left - 6, y: y(tick) + 4, "text-anchor": "end" }, text(tick)));
  }
  svg.append(drawing("text", { x: (MARGIN.left + right) / 2, y: height - 8, "text-anchor": "middle" }, options.x));
  const middle = (MARGIN.top + bottom) / 2;
  const upright = { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` };
  svg.append(drawing("text", upright, options.y));
}

function drawSeries(svg, series, x, y, placed) {
  const points = series.points.map((point) => ({ ...point, px: x(point.x), py: y(point.y) }));
  const line = points.map((point) => `${point.px.toFixed(1)},${point.py.toFixed(1)}`).join(" ");
  const { colour, dash, shape } = series.style;
  const stroke = { stroke: colour, "stroke-width": 2, "stroke-dasharray": dash };
  svg.append(drawing("polyline", { points: line, fill: "none", ...stroke }));
  for (const point of points) {
    placed.push(point);
    if (series.bare) continue;
    const place = `translate(${point.px.toFixed(1)},${point.py.toFixed(1)})`;
    svg.append(drawing("path", { class: "point", d: SHAPES[point.shape || shape], transform: place, fill: colour }));
  }
}

function showTip(text, left, top) {
  const tip = document.getElementById("tip");
  tip.textContent = text;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(left + 14, document.documentElement.clientWidth - box.width - 8))}px`;
  tip.style.top = `${top - box.height - 14 > 0 ? top - box.height - 14 : top + 18}px`;
}

function hideTip() {
  document.getElementById("tip").hidden = true;
}

function followPointer(svg, placed) {
  const ring = drawing("circle", { class: "ring", r: 8, visibility: "hidden" });
  svg.append(ring);
  const leave = () => { hideTip(); ring.setAttribute("visibility", "hidden"); };
  const move = (event) => {
    const box = svg.getBoundingClientRect();
    const away = (point) => Math.hypot(point.px - (event.clientX - box.left), point.py - (event.clientY - box.top));
    const nearest = placed.reduce((best, point) => (away(point) < away(best) ? point : best), placed[0]);
    if (!nearest || away(nearest) > REACH) return leave();
    ring.setAttribute("cx", nearest.px);
    ring.setAttribute("cy", nearest.py);
    ring.setAttribute("visibility", "visible");
    showTip(nearest.tip, box.left + nearest.px, box.top + nearest.py);
  };
  svg.addEventListener("pointermove", move);
  svg.addEventListener("pointerdown", move);
  svg.addEventListener("pointerleave", leave);
}

function drawMarks(svg, marks, x, height) {
  for (const mark of marks) {
    const place = x(mark.x);
    svg.append(drawing("line", { class: "mark", x1: place, x2: place, y1: MARGIN.top, y2: height - MARGIN.bottom }));
    svg.append(drawing("text", { class: "mark", transform: `translate(${place + 4},${MARGIN.top + 4}) rotate(90)` },
      mark.name));
  }
}

// options: series [{name, style, bare, points [{x, y, tip, shape}]}], x and y (axis titles), logX, logY, wholeX, label,
// marks [{x, name}]. Of a bare series only the line is drawn.
function drawChart(container, options) {
  hideTip();
  const width = container.clientWidth;
  const height = Math.round(Math.min(options.height || 420, Math.max(240, width * 0.75)));
  const svg = drawing("svg", { height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.label });
  container.replaceChildren(svg);
  const all = options.series.flatMap((series) => series.points);
  if (!all.length) {
    svg.append(drawing("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "nothing to show"));
    return;
  }
  const columns = Math.max(4, Math.round(width / 110));
  const x = scale(all.map((point) => point.x), options.logX, MARGIN.left, width - MARGIN.right, columns,
    options.wholeX ? 1 : 0);
  const y = scale(all.map((point) => point.y), options.logY, height - MARGIN.bottom, MARGIN.top, 6);
  drawAxes(svg, x, y, options, width, height);
  drawMarks(svg, options.marks || [], x, height);
  const placed = [];
  for (const series of options.series) drawSeries(svg, series, x, y, placed);
  followPointer(svg, placed);
}
