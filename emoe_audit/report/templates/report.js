"use strict";
// Draws each chart at the width it has: the narrow form on a phone, a fixed width on paper.
const figures = JSON.parse(document.getElementById("figures").textContent);
const places = [...document.querySelectorAll("[data-figure]")];
const NARROW = 640, PAPER = 700;

function draw(place, width) {
  const forms = figures[place.dataset.figure];
  const figure = width < NARROW ? forms.narrow : forms.wide;
  place.style.minHeight = figure.layout.height + "px";
  const layout = { ...figure.layout, width };
  Plotly.react(place, figure.data, layout, { displayModeBar: false, scrollZoom: false });
}

const drawAll = (width) => places.forEach((place) => draw(place, width || place.clientWidth));

let printing = false;
let lastWidth = 0;
addEventListener("resize", () => {
  if (!printing && document.body.clientWidth !== lastWidth) drawAll();
  lastWidth = document.body.clientWidth;
});
addEventListener("beforeprint", () => {
  printing = true;
  document.querySelectorAll("details").forEach((details) => (details.open = true));
  drawAll(PAPER);
});
addEventListener("afterprint", () => {
  printing = false;
  drawAll();
});
drawAll();
