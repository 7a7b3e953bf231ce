"use strict";
// Fills the page from its data. Every section has a function of its own and is hidden where there is nothing to show.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const unique = (values) => [...new Set(values)];
const clipOf = (item) => [item.dataset, item.sequence].filter(Boolean).join(" / ");
const SHAPE_OF_TYPE = { I: "square", P: "circle", B: "triangle" };
const COSTS = { kmac_encode: ["kMAC/pixel encoding", 1], kmac_decode: ["kMAC/pixel decoding", 1],
  encode_fps: ["frames/s encoding", 1], decode_fps: ["frames/s decoding", 1], parameters: ["parameters", 0] };
const LARGEST_ZOOM = 3;
const WIDEST = 960; // pixels

const codecs = unique([...data.points, ...Object.values(data.means).flat()].map((item) => item.codec));
const styles = Object.fromEntries(codecs.map((codec, index) => [codec, styleOf(index)]));
const hiddenCodecs = new Set();
const redraws = [];

function number(value, digits) {
  const exactly = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value === null || value === undefined ? "" : value.toLocaleString("en", exactly);
}

function options(select, values) {
  select.replaceChildren(...values.map(([value, text]) => element("option", { value }, text)));
}

// header: [title, numeric?]; lines: arrays of cells (text, or {text, class}); a line may carry .mean.
function table(header, lines) {
  const cell = (name, content, numeric) => {
    const { text, kind } = typeof content === "object" && content ? content : { text: content, kind: "" };
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

function showHead() {
  byId("conditions").textContent = `Test conditions: ${data.conditions}.`;
  byId("notes").hidden = !data.notes.length;
  byId("notes").replaceChildren(...data.notes.map((note) => element("li", {}, note)));
  const sections = [...document.querySelectorAll("main > section")].filter((section) => !section.hidden);
  const links = sections.map((section) => element("a", { href: `#${section.id}` }, section.dataset.name));
  document.querySelector("nav").replaceChildren(...links);
}

function pointText(point, metric) {
  const lines = [point.codec, point.name, `${number(point.bpp, 4)} bpp${point.estimated ? " (estimated)" : ""}`];
  lines.push(`${data.metrics[metric]}: ${number(point[metric], 5)}`);
  if (point.encode_fps) lines.push(`encoding ${number(point.encode_fps, 1)} frames/s`);
  if (point.decode_fps) lines.push(`decoding ${number(point.decode_fps, 1)} frames/s`);
  return lines.join("\n");
}

function meanText(curve, rate, quality, metric) {
  const values = [`${number(rate, 4)} bpp`, `${data.metrics[metric]}: ${number(quality, 5)}`];
  return [curve.codec, `mean of ${curve.dataset}`, ...values].join("\n");
}

// The series of a rate-distortion chart: of one clip, or of the means over a data set ("mean:<data set>").
function rdSeries(metric, clips) {
  if (clips.startsWith("mean:")) {
    const curves = data.means[metric].filter((curve) => `mean:${curve.dataset}` === clips);
    return curves.map((curve) => ({ name: curve.codec,
      points: curve.points.map(([x, y]) => ({ x, y, tip: meanText(curve, x, y, metric) })) }));
  }
  const points = data.points.filter((point) => clipOf(point) === clips && point[metric] !== null && point.bpp);
  return unique(points.map((point) => point.codec)).map((codec) => ({ name: codec,
    points: points.filter((point) => point.codec === codec).sort((a, b) => a.bpp - b.bpp)
      .map((point) => ({ x: point.bpp, y: point[metric], tip: pointText(point, metric) })) }));
}

function styled(series) {
  return series.filter(({ name }) => !hiddenCodecs.has(name)).map((one) => ({ ...one, style: styles[one.name] }));
}

function showRd() {
  const metrics = Object.entries(data.metrics);
  options(byId("rd-metric"), metrics);
  const sets = unique(Object.values(data.means).flat().map((curve) => curve.dataset));
  const clips = unique(data.points.map(clipOf));
  const choices = sets.map((set) => [`mean:${set}`, `${set} (mean)`]);
  options(byId("rd-clips"), [...choices, ...clips.map((clip) => [clip, clip])]);
  const draw = () => {
    const [metric, chosen] = [byId("rd-metric").value, byId("rd-clips").value];
    const series = rdSeries(metric, chosen);
    showLegend(byId("rd-legend"), series.map(({ name }) => name));
    drawChart(byId("rd-chart"), { series: styled(series), x: "bits per pixel", y: data.metrics[metric],
      logX: byId("rd-log").checked, label: `rate and distortion of ${chosen}`, height: 460 });
  };
  for (const id of ["rd-metric", "rd-clips", "rd-log"]) byId(id).addEventListener("change", draw);
  redraws.push(draw);
}

function bdLine(line) {
  const value = line.value === null ? "NaN" : `${line.value > 0 ? "+" : ""}${line.value.toFixed(2)} %`;
  const doubtful = line.value === null || line.overlap < data.minimumOverlap;
  const cells = [line.dataset, line.sequence || "(all)", line.codec, value, `${Math.round(line.overlap * 100)} %`];
  cells.push({ text: line.note, kind: doubtful ? "warned" : "" });
  cells.mean = !line.sequence;
  return cells;
}

function showBd() {
  byId("bd").hidden = !data.bd.some((one) => one.lines.length);
  if (byId("bd").hidden) return;
  byId("bd-what").textContent = `How much more rate each codec needs for the same quality as ${data.anchor}:`
    + " less is better, −50 % is half the rate.";
  const pick = (name) => unique(data.bd.map((one) => one[name]));
  options(byId("bd-metric"), pick("metric").map((metric) => [metric, data.metrics[metric]]));
  options(byId("bd-method"), pick("method").map((method) => [method, method]));
  options(byId("bd-average"), pick("average").map((average) => [average, average]));
  const header = [["data set"], ["clip"], ["codec"], ["BD-rate", true], ["overlap", true], ["note"]];
  const draw = () => {
    const wanted = ["metric", "method", "average"].map((name) => [name, byId(`bd-${name}`).value]);
    const found = data.bd.find((one) => wanted.every(([name, value]) => one[name] === value));
    const means = found.lines.filter((line) => !line.sequence);
    const clips = found.lines.filter((line) => line.sequence);
    byId("bd-table").replaceChildren(table(header, [...means, ...clips].map(bdLine)));
  };
  for (const name of ["metric", "method", "average"]) byId(`bd-${name}`).addEventListener("change", draw);
  draw();
}

function frameText(point, index) {
  const { frames } = point;
  const lines = [point.codec, `frame ${frames.index[index]} (${frames.type[index]})`];
  lines.push(`${number(frames.psnr[index], 2)} dB PSNR-RGB`, `${number(frames.bits[index], 0)} bits`);
  for (const [label, bits] of Object.entries(frames.rates)) {
    if (bits[index]) lines.push(`  ${label} ${number(bits[index], 0)}`);
  }
  return lines.join("\n");
}

function frameSeries(points, name) {
  return points.map((point) => {
    const { frames } = point;
    const placed = frames.index.map((x, index) => ({
      x, y: frames[name][index], tip: frameText(point, index), shape: SHAPE_OF_TYPE[frames.type[index]] }));
    return { name: point.codec, points: placed.filter(({ y }) => y > 0) };
  });
}

// Of each codec the rate point nearest to a rate, as a ratio.
function nearestPoints(points, rate) {
  const away = (point) => Math.abs(Math.log(point.bpp / rate));
  return unique(points.map((point) => point.codec)).map((codec) =>
    points.filter((point) => point.codec === codec).reduce((best, point) => (away(point) < away(best) ? point : best)));
}

function drawFrames(withFrames) {
  const clip = byId("frames-clip").value;
  const own = withFrames.filter((point) => clipOf(point) === clip);
  const rates = own.map((point) => point.bpp);
  const rate = Math.min(...rates) * (Math.max(...rates) / Math.min(...rates)) ** (byId("frames-bpp").value / 100);
  byId("frames-rate").textContent = rate.toPrecision(3);
  const chosen = nearestPoints(own, rate);
  showLegend(byId("frames-legend"), chosen.map((point) => point.codec));
  const common = { x: "frame", wholeX: true, height: 260 };
  drawChart(byId("frames-quality"), { ...common, series: styled(frameSeries(chosen, "psnr")), y: "PSNR-RGB (dB)",
    label: `PSNR of every frame of ${clip}` });
  drawChart(byId("frames-bits"), { ...common, series: styled(frameSeries(chosen, "bits")), y: "bits", logY: true,
    label: `bits of every frame of ${clip}` });
  const header = [["codec"], ["rate point"], ["bpp", true], ["PSNR-RGB (dB)", true], ["drift (dB/frame)", true]];
  const lines = chosen.map((point) => [point.codec, point.name, number(point.bpp, 4), number(point.psnr_rgb, 2),
    number(point.frames.drift, 4)]);
  byId("frames-table").replaceChildren(table(header, lines));
}

function showFrames() {
  const withFrames = data.points.filter((point) => point.frames && point.bpp);
  byId("frames").hidden = !withFrames.length;
  if (!withFrames.length) return;
  options(byId("frames-clip"), unique(withFrames.map(clipOf)).map((clip) => [clip, clip]));
  const draw = () => drawFrames(withFrames);
  byId("frames-clip").addEventListener("change", draw);
  byId("frames-bpp").addEventListener("input", draw);
  redraws.push(draw);
}

function showModuleBits({ frames, frame }) {
  const index = frames ? frames.index.indexOf(frame) : -1;
  const found = index < 0 ? [] : Object.entries(frames.rates).map(([label, bits]) => [label, bits[index]]);
  const total = found.reduce((sum, [, bits]) => sum + bits, 0);
  const parts = found.filter(([, bits]) => bits > 0);
  if (!total) return byId("module-bits").replaceChildren();
  const colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];
  const fill = (i) => `background:${colours[i % colours.length]}`;
  const width = (bits) => `width:${(100 * bits) / total}%;`;
  const bar = parts.map(([label, bits], i) => element("div", { style: width(bits) + fill(i), title: label }));
  const words = parts.flatMap(([label, bits], i) => [element("span", { class: "swatch", style: fill(i) }),
    `${label} ${number(bits, 0)} bits (${Math.round((100 * bits) / total)} %)`]);
  const quality = `frame ${frame} (${frames.type[index]}), ${number(frames.psnr[index], 2)} dB:`;
  byId("module-bits").replaceChildren(element("div", { class: "stack" }, ...bar), element("p", {}, quality, ...words));
}

function showPicture(shown) {
  byId("compare-source").src = shown.pictures.source;
  const recon = byId("compare-recon");
  recon.onload = () => { byId("compare").style.maxWidth = `${Math.min(WIDEST, LARGEST_ZOOM * recon.naturalWidth)}px`; };
  recon.src = shown.pictures.recon;
  const where = `${shown.codec}, ${clipOf(shown)}, ${shown.name}, frame ${shown.frame}`;
  byId("compare-caption").textContent = `${where}: source left, reconstruction right of the border, which can be dragged or`
    + ` moved with the arrow keys. Stored as ${data.storage}.`;
  const compared = ["source", "recon"];
  const others = Object.keys(data.captions).filter((kind) => shown.pictures[kind] && !compared.includes(kind));
  byId("maps").replaceChildren(...others.map((kind) => element("figure", {},
    element("img", { src: shown.pictures[kind], alt: data.captions[kind], "data-kind": kind }),
    element("figcaption", {}, data.captions[kind]))));
  showModuleBits(shown);
}

// One select for each property of a picture; the later ones offer what the earlier ones leave.
function showPictures() {
  byId("pictures").hidden = !data.pictures.length;
  if (!data.pictures.length) return;
  const levels = { codec: (one) => one.codec, clip: clipOf, rate: (one) => one.name, frame: (one) => String(one.frame) };
  const selects = Object.keys(levels).map((level) => element("select", { id: `pictures-${level}` }));
  byId("pictures-controls").append(...selects.map((select, i) => element("label", {}, `${Object.keys(levels)[i]} `, select)));
  const draw = () => {
    let left = data.pictures.map((one) => ({ ...data.points[one.point], ...one }));
    Object.values(levels).forEach((of, i) => {
      const values = unique(left.map(of));
      const kept = values.includes(selects[i].value) ? selects[i].value : values[0];
      options(selects[i], values.map((value) => [value, value]));
      selects[i].value = kept;
      left = left.filter((one) => of(one) === kept);
    });
    showPicture(left[0]);
  };
  selects.forEach((select) => select.addEventListener("change", draw));
  draw();
  followDivider();
}

function setSplit(percent) {
  const split = Math.max(0, Math.min(100, percent));
  byId("compare").style.setProperty("--split", `${split}%`);
  byId("divider").setAttribute("aria-valuenow", Math.round(split));
}

function followDivider() {
  const frame = byId("compare");
  const divider = byId("divider");
  const follow = (event) => {
    const box = frame.getBoundingClientRect();
    setSplit(((event.clientX - box.left) / box.width) * 100);
  };
  frame.addEventListener("pointerdown", (event) => { frame.setPointerCapture(event.pointerId); follow(event); });
  frame.addEventListener("pointermove", (event) => { if (frame.hasPointerCapture(event.pointerId)) follow(event); });
  divider.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 }[event.key];
    if (!step) return;
    event.preventDefault();
    setSplit(Number(divider.getAttribute("aria-valuenow")) + step);
  });
  setSplit(50);
}

function showComplexity() {
  const columns = Object.keys(COSTS).filter((name) => data.complexity.some((one) => one[name] !== null));
  byId("complexity").hidden = !columns.length && !data.modules.length;
  const lines = data.complexity.map((one) => [one.codec, ...columns.map((name) => number(one[name], COSTS[name][1]))]);
  byId("complexity-table").replaceChildren(table([["codec"], ...columns.map((name) => [COSTS[name][0], true])], lines));
  byId("module-tables").replaceChildren(...data.modules.flatMap((one) => [
    element("h3", {}, `Modules of ${one.codec} (${one.folders.join(", ")})`),
    element("div", { class: "scroll" }, table(one.header.map((title, i) => [title, i > 0]), one.lines))]));
}

function showRuns() {
  const fact = ([name, value]) => [element("dt", {}, name), element("dd", {}, value)];
  byId("run-list").replaceChildren(...data.runs.flatMap((run) => [
    element("h3", {}, run.folder),
    element("dl", {}, ...Object.entries(run.facts).flatMap(fact)),
    ...Object.entries(run.details).map(([name, text]) =>
      element("details", {}, element("summary", {}, name), element("pre", {}, text)))]));
  const lines = data.points.map((point) => [point.codec, clipOf(point), `${point.width}x${point.height}`, point.name,
    point.settings]);
  byId("settings-table").replaceChildren(table([["codec"], ["clip"], ["size"], ["rate point"], ["settings"]], lines));
}

for (const show of [showRd, showBd, showFrames, showPictures, showComplexity, showRuns, showHead]) show();
let drawnWidth = 0;
new ResizeObserver(() => {
  const width = byId("rd-chart").clientWidth;
  if (width === drawnWidth) return;
  drawnWidth = width;
  redraws.forEach((redraw) => redraw());
}).observe(document.body);
