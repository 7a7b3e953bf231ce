"use strict";
// How much rate for which quality: the curves, their points in a table, and BD-rates.

function pointText(point, metric) {
  const lines = [point.codec, point.name, `${number(point.bpp, 4)} bpp${point.estimated ? " (estimated)" : ""}`];
  lines.push(`${data.metrics[metric]}: ${quality(point[metric], metric)}`);
  if (point.encode_fps) lines.push(`encoding ${number(point.encode_fps, 1)} frames/s`);
  if (point.decode_fps) lines.push(`decoding ${number(point.decode_fps, 1)} frames/s`);
  return lines.join("\n");
}

function meanText(curve, rate, value, metric) {
  const values = [`${number(rate, 4)} bpp`, `${data.metrics[metric]}: ${quality(value, metric)}`];
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

// Columns of the table of rate points: name of the value, title, and how it is shown.
const POINT_COLUMNS = [["bpp", "bpp", (value) => number(value, 4)], ["kbps", "kbit/s", (value) => number(value, 0)],
  ...Object.entries(data.metrics).map(([name, title]) => [name, title, (value) => quality(value, name)]),
  ["encode_fps", "encoding (frames/s)", (value) => number(value, 1)],
  ["decode_fps", "decoding (frames/s)", (value) => number(value, 1)]];

// Nothing where one of the points lacks the value.
function average(points, name) {
  const values = points.map((point) => point[name]).filter((value) => value !== null && value !== undefined);
  return values.length === points.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
}

// The points of a clip, or the means over the clips of a data set, as a table; columns without values are left out.
function putPoints(box, clips) {
  const own = data.points.filter((point) => clips === clipOf(point) || clips === `mean:${point.dataset}`);
  const keyOf = (point) => JSON.stringify([point.codec, point.name]);
  const lines = unique(own.map(keyOf)).map((key) => own.filter((point) => keyOf(point) === key));
  lines.sort((a, b) => codecs.indexOf(a[0].codec) - codecs.indexOf(b[0].codec) || average(a, "bpp") - average(b, "bpp"));
  const columns = POINT_COLUMNS.filter(([name]) => lines.some((points) => average(points, name) !== null));
  putTable(box, [["codec"], ["rate point"], ...columns.map(([, title]) => [title, true])], lines.map((points) =>
    [codecCell(points[0].codec), points[0].name, ...columns.map(([name, , show]) => show(average(points, name)))]));
}

function showRd() {
  byId("rd").hidden = !data.points.length;
  if (!data.points.length) return;
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
    putPoints(byId("rd-table"), chosen);
  };
  for (const id of ["rd-metric", "rd-clips", "rd-log"]) byId(id).addEventListener("change", draw);
  redraws.push(draw);
}

function bdLine(line) {
  const value = line.value === null ? line.text : `${signed(line.value)} %`;
  const kind = line.doubtful ? "warned" : "";
  const cells = [line.dataset, line.sequence || "(all)", codecCell(line.codec), { text: value, kind },
    `${Math.round(line.overlap * 100)} %`, { text: line.note, kind: `note ${kind}` }];
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
    putTable(byId("bd-table"), header, [...means, ...clips].map(bdLine));
  };
  for (const name of ["metric", "method", "average"]) byId(`bd-${name}`).addEventListener("change", draw);
  draw();
}

