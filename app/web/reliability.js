/** A reliability diagram, drawn from the bins in a model's metadata. */

import { say } from "./language.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const SIDE = 220; // Of the plot, in units of the drawing.
const LEFT = 44;
const BOTTOM = 40;
const EDGE = 8;
const SMALLEST_DOT = 2;
const LARGEST_DOT = 7; // Of a bin that holds every image.

/** The heading of the card's section that the diagram belongs to. */
const SECTION = "Calibration";

/**
 * Put the diagram below the heading of its section; nothing where there is no such section or no bin.
 *
 * @param {DocumentFragment} card
 * @param {Array<{images: number, mean_probability: number, share: {value: number, low: number, high: number}}>} bins
 * @returns {DocumentFragment} The card.
 */
export function withReliability(card, bins = []) {
  const heading = [...card.querySelectorAll("h4, h5, h6")].find((found) => found.textContent === SECTION);
  if (heading && bins.length) heading.after(diagram(bins));
  return card;
}

function diagram(bins) {
  const figure = document.createElement("figure");
  const drawing = put(figure, "svg", { viewBox: `0 0 ${LEFT + SIDE + EDGE} ${EDGE + SIDE + BOTTOM}`, role: "img" });
  figure.className = "reliability";
  say(drawing, { sayLabel: "reliability" });
  const x = (share) => LEFT + share * SIDE;
  const y = (share) => EDGE + (1 - share) * SIDE;
  put(drawing, "rect", { class: "frame", x: LEFT, y: EDGE, width: SIDE, height: SIDE });
  put(drawing, "line", { class: "exact", x1: x(0), y1: y(0), x2: x(1), y2: y(1) });
  for (const share of [0, 0.5, 1]) {
    put(drawing, "text", { x: x(share), y: y(0) + 14, class: "middle" }).textContent = share;
    put(drawing, "text", { x: x(0) - 5, y: y(share) + 4, class: "end" }).textContent = share;
  }
  say(put(drawing, "text", { x: x(0.5), y: y(0) + 32, class: "middle" }), "reliabilityX");
  const turned = `rotate(-90 12 ${y(0.5)})`;
  say(put(drawing, "text", { x: 12, y: y(0.5), class: "middle", transform: turned }), "reliabilityY");
  const total = bins.reduce((sum, { images }) => sum + images, 0);
  for (const { images, mean_probability: mean, share } of bins) {
    put(drawing, "line", { class: "range", x1: x(mean), y1: y(share.low), x2: x(mean), y2: y(share.high) });
    const radius = Math.max(LARGEST_DOT * Math.sqrt(images / total), SMALLEST_DOT);
    put(drawing, "circle", { class: "bin", cx: x(mean), cy: y(share.value), r: radius });
  }
  say(figure.appendChild(document.createElement("figcaption")), "reliability");
  return figure;
}

function put(parent, tag, attributes) {
  const made = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return parent.appendChild(made);
}
