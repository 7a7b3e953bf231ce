"use strict";
// How quality and bits go from frame to frame.

const SHAPE_OF_TYPE = { I: "square", P: "circle", B: "triangle" };

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
  const lines = chosen.map((point) => [codecCell(point.codec), point.name, number(point.bpp, 4), number(point.psnr_rgb, 2),
    number(point.frames.drift, 4)]);
  putTable(byId("frames-table"), header, lines);
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
