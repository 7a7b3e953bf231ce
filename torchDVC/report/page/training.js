"use strict";
// How training went: a curve of each term, with its stages marked.

const VALIDATED = "val_";

function trainingSeries(run, term, axis) {
  const place = { step: 0, minutes: 1 }[axis];
  const names = [term, VALIDATED + term].filter((name) => run.terms[name]);
  return names.map((name, index) => ({
    name, style: { ...styleOf(index + 1), dash: "" }, bare: !name.startsWith(VALIDATED),
    points: run.terms[name].map((point) => ({ x: point[place], y: point[2],
      tip: `${name}: ${rounded(String(point[2]))}\nstep ${number(point[0], 0)}, ${number(point[1], 1)} minutes` })) }));
}

function trainingPicture(picture) {
  const said = `after ${number(picture.step, 0)} steps`;
  const image = element("img", { src: `data:image/webp;base64,${picture.image}`, alt: `validation picture ${said}` });
  return element("figure", {}, image, element("figcaption", {}, said));
}

function showTraining() {
  byId("training").hidden = !data.training.length;
  if (!data.training.length) return;
  const runs = Object.fromEntries(data.training.map((run, index) => [`${index}`, run]));
  options(byId("training-run"), data.training.map((run, index) => [`${index}`, run.name]));
  byId("training-run").value = `${data.training.length - 1}`;
  const draw = () => {
    const run = runs[byId("training-run").value];
    const terms = unique(Object.keys(run.terms).map((name) => name.replace(VALIDATED, "")));
    const term = offer(byId("training-term"), terms, terms.includes("loss") ? "loss" : terms[0]);
    const axis = byId("training-axis").value;
    const series = trainingSeries(run, term, axis);
    const marks = run.stages.map((stage) => ({ name: stage.name, x: axis === "step" ? stage.step : stage.minute }));
    const legend = series.map((one) => element("span", { class: "key" }, swatch(one.style),
      one.name === term ? "training" : "validation"));
    byId("training-legend").replaceChildren(...legend);
    byId("training-pictures").replaceChildren(...run.pictures.map(trainingPicture));
    drawChart(byId("training-chart"), { series, marks, x: axis, y: term, logY: byId("training-log").checked,
      label: `${term} of the training run ${run.name}`, height: 320 });
  };
  for (const id of ["run", "term", "axis", "log"]) byId(`training-${id}`).addEventListener("change", draw);
  redraws.push(draw);
}
