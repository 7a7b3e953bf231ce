"use strict";
// Which pictures are on the stage, and what the codec did to the frame: motion, bits, error.

const SOURCE = "source";
const TITLES = { codec: "Codec", clip: "Clip", rate: "Rate point", frame: "Frame", beside: "Beside" };
const BIT_COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"];

function showModuleBits({ frames, frame }) {
  const index = frames ? frames.index.indexOf(frame) : -1;
  const found = index < 0 ? [] : Object.entries(frames.rates).map(([label, bits]) => [label, bits[index]]);
  const total = found.reduce((sum, [, bits]) => sum + bits, 0);
  const parts = found.filter(([, bits]) => bits > 0);
  if (!total) return byId("module-bits").replaceChildren();
  const fill = (i) => `background:${BIT_COLOURS[i % BIT_COLOURS.length]}`;
  const width = (bits) => `width:${(100 * bits) / total}%;`;
  const bar = parts.map(([label, bits], i) => element("div", { style: width(bits) + fill(i), title: label }));
  const words = parts.flatMap(([label, bits], i) => [element("span", { class: "swatch", style: fill(i) }),
    `${label} ${number(bits, 0)} bits (${Math.round((100 * bits) / total)} %)`]);
  const named = `Frame ${frame} (${frames.type[index]}), ${number(frames.psnr[index], 2)} dB:`;
  byId("module-bits").replaceChildren(element("div", { class: "stack" }, ...bar), element("p", {}, named, ...words));
}

function showMaps(shown) {
  const compared = ["source", "recon"];
  const others = Object.keys(data.captions).filter((kind) => shown.pictures[kind] && !compared.includes(kind));
  byId("maps").replaceChildren(...others.map((kind) => element("figure", {},
    element("img", { src: shown.pictures[kind], alt: data.captions[kind], "data-kind": kind }),
    element("figcaption", {}, data.captions[kind]))));
  showModuleBits(shown);
}

function labelOf(point) {
  const values = [point.bpp ? `${number(point.bpp, 3)} bpp` : "", point.psnr_rgb ? `${number(point.psnr_rgb, 1)} dB` : ""];
  return [point.codec, values.filter(Boolean).join(", ")].filter(Boolean).join("\n");
}

// One side of the stage: its label, its still picture, and its place in the film.
function sideOf(shown, name, played) {
  if (name === SOURCE) return { label: SOURCE, picture: shown.pictures.source, row: 0 };
  const own = name === shown.codec;
  const index = own ? shown.point : Number(Object.keys(shown.beside).find((i) => data.points[i].codec === name));
  const picture = own ? shown.pictures.recon : shown.beside[index];
  return { label: labelOf(data.points[index]), picture, row: played ? played.tracks.indexOf(index) + 1 : 0, index };
}

function showPicture(shown, left) {
  const played = data.films.find((one) => one.point === shown.point);
  const sides = { left: sideOf(shown, left, played), right: sideOf(shown, shown.codec, played) };
  const whole = played && [sides.left, sides.right].every((side) => side.label === SOURCE || side.row > 0);
  stage({ ...sides, film: whole ? played : null });
  const where = `${shown.codec}, ${clipOf(shown)}, ${shown.name}, frame ${shown.frame}`;
  const stored = `The still picture is stored as ${data.storage}`;
  const filmed = whole ? `, the film of the first ${played.frames} frames by x264 at CRF ${played.crf}` : "";
  byId("compare-caption").textContent = `${where}; on the left ${left === SOURCE ? "the source" : `${left} at its nearest`
    + " rate"}. Drag the border, or move it with the arrow keys. ${stored}${filmed}.`;
  showMaps(shown);
}

// Fill a select with values, and keep what was chosen where it is still among them.
function offer(select, values, preferred = values[0]) {
  const kept = values.includes(select.value) ? select.value : preferred;
  options(select, values.map((value) => [value, value]));
  select.value = kept;
  return kept;
}

// One select for each property of a picture; the later ones offer what the earlier ones leave.
function showPictures() {
  byId("pictures").hidden = !data.pictures.length;
  if (!data.pictures.length) return;
  const levels = { codec: (one) => one.codec, clip: clipOf, rate: (one) => one.name, frame: (one) => String(one.frame) };
  const names = Object.keys(TITLES);
  const selects = Object.fromEntries(names.map((name) => [name, element("select", { id: `pictures-${name}` })]));
  byId("pictures-controls").prepend(...names.map((name) => element("label", {}, `${TITLES[name]} `, selects[name])));
  const filmed = new Set(data.films.map((one) => one.point));
  const draw = () => {
    let left = data.pictures.map((one) => ({ ...data.points[one.point], ...one }));
    left.sort((a, b) => filmed.has(b.point) - filmed.has(a.point)); // what is filmed is shown first
    for (const [name, of] of Object.entries(levels)) {
      const kept = offer(selects[name], unique(left.map(of)).sort(inOrder), of(left[0]));
      left = left.filter((one) => of(one) === kept);
    }
    const others = Object.keys(left[0].beside).map((index) => data.points[index].codec);
    const preferred = others.includes(data.anchor) ? data.anchor : others[0] ?? SOURCE;
    showPicture(left[0], offer(selects.beside, [...others, SOURCE], preferred));
  };
  Object.values(selects).forEach((select) => select.addEventListener("change", draw));
  selects.frame.addEventListener("change", () => setFilming(false));
  showStage();
  draw();
  setFilming(true);
}
