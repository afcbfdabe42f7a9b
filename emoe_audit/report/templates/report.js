"use strict";
// Draws each chart at the width it has: the narrow form on a phone, a fixed width and no more than a page on paper.
const figures = JSON.parse(document.getElementById("figures").textContent);
const places = [...document.querySelectorAll("[data-figure]")];
const NARROW = 640, PAPER = { width: 700, height: 800 };

function draw(place, width, tallest) {
  const forms = figures[place.dataset.figure];
  const figure = width < NARROW ? forms.narrow : forms.wide;
  const height = Math.min(figure.layout.height, tallest);
  place.style.minHeight = height + "px";
  const layout = { ...figure.layout, width, height };
  Plotly.react(place, figure.data, layout, { displayModeBar: false, scrollZoom: false });
}

const drawAll = (page) =>
  places.forEach((place) => draw(place, page ? page.width : place.clientWidth, page ? page.height : Infinity));

let printing = false;
let opened = [];
let lastWidth = 0;
addEventListener("resize", () => {
  if (!printing && document.body.clientWidth !== lastWidth) drawAll();
  lastWidth = document.body.clientWidth;
});
addEventListener("beforeprint", () => {
  printing = true;
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((details) => (details.open = true));
  drawAll(PAPER);
});
addEventListener("afterprint", () => {
  printing = false;
  opened.forEach((details) => (details.open = false));
  drawAll();
});
drawAll();
