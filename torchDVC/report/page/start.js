"use strict";
// Fills the page. Every section has a function of its own and is hidden where there is nothing to show.

function showHead() {
  byId("what").textContent = data.what;
  byId("outcome").replaceChildren(...data.outcome.map((sentence) => element("li", {}, sentence)));
  byId("conditions").textContent = data.conditions && `Test conditions: ${data.conditions}.`;
  byId("notes").hidden = !data.notes.length;
  byId("notes").replaceChildren(...data.notes.map((note) => element("li", {}, note)));
  const sections = [...document.querySelectorAll("main > section")].filter((section) => !section.hidden);
  const links = sections.map((section) => element("a", { href: `#${section.id}` }, section.dataset.name));
  document.querySelector("nav").replaceChildren(...links);
}

const sections = [showPictures, showRd, showBd, showTraining, showFrames, showComplexity, showRuns];
for (const show of [...sections, showHead]) show();
let drawnWidth;

// Draw what depends on the page's width: at once, as nothing may be told of a page that is not seen (or is printed).
function drawToWidth() {
  const width = document.querySelector("main").clientWidth;
  if (width === drawnWidth) return;
  drawnWidth = width;
  redraws.forEach((redraw) => redraw());
}

drawToWidth();
new ResizeObserver(drawToWidth).observe(document.body);
