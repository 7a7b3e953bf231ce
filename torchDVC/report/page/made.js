"use strict";
// What it costs, and how it was made.

const COSTS = { kmac_encode: ["kMAC/pixel encoding", 1], kmac_decode: ["kMAC/pixel decoding", 1],
  encode_fps: ["frames/s encoding", 1], decode_fps: ["frames/s decoding", 1], parameters: ["parameters", 0],
  memory_encode: ["MiB encoding", 0], memory_decode: ["MiB decoding", 0],
  device_memory_encode: ["GPU MiB encoding", 0], device_memory_decode: ["GPU MiB decoding", 0] };

function moduleTable(one) {
  const box = element("div");
  putTable(box, one.header.map((title, i) => [title, i > 0]), one.lines.map((line) => line.map(rounded)));
  return [element("h3", {}, `Modules of ${one.codec} (${one.folders.join(", ")})`), box];
}

function showComplexity() {
  const columns = Object.keys(COSTS).filter((name) => data.complexity.some((one) => one[name] !== null));
  byId("complexity").hidden = !columns.length && !data.modules.length;
  const lines = data.complexity.map((one) => [codecCell(one.codec), ...columns.map((name) => number(one[name], COSTS[name][1]))]);
  putTable(byId("complexity-table"), [["codec"], ...columns.map((name) => [COSTS[name][0], true])], lines);
  byId("module-tables").replaceChildren(...data.modules.flatMap(moduleTable));
}

function showRuns() {
  byId("runs").hidden = !data.runs.length && !data.points.length;
  const fact = ([name, value]) => [element("dt", {}, name), element("dd", {}, value)];
  byId("run-list").replaceChildren(...data.runs.flatMap((run) => [
    element("h3", {}, run.folder),
    element("dl", {}, ...Object.entries(run.facts).flatMap(fact)),
    ...Object.entries(run.details).map(([name, text]) =>
      element("details", {}, element("summary", {}, name), element("pre", {}, text)))]));
  const lines = data.points.map((point) => [codecCell(point.codec), clipOf(point), `${point.width}x${point.height}`, point.name,
    { text: point.settings, kind: "note" }]);
  putTable(byId("settings-table"), [["codec"], ["clip"], ["size"], ["rate point"], ["settings"]], lines);
}
