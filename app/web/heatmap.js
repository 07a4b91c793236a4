/** The heatmap as `POST /explain` draws it (app/overlay.py), so that both show the same. */

/** Of bicubic interpolation: the value of Pillow's `BICUBIC`. */
const SHARPNESS = -0.5;

/**
 * Draw a heatmap over the part of a picture that it is of: black through red to yellow, transparent where it is cold.
 *
 * @param {HTMLCanvasElement} canvas - Takes the picture's size.
 * @param {number[][]} rows - Values in 0..1, from top to bottom.
 * @param {HTMLImageElement} picture - The whole image, reduced.
 * @param {Object} input - Of the answer: the image's own size, and `seen_region` in its pixels.
 */
export function drawHeatmap(canvas, rows, picture, { width: columns, height: lines, seen_region: seen }) {
  Object.assign(canvas, { width: picture.naturalWidth, height: picture.naturalHeight });
  const context = canvas.getContext("2d");
  const [left, width] = span(seen.left, seen.width, columns, canvas.width);
  const [top, height] = span(seen.top, seen.height, lines, canvas.height);
  const image = context.createImageData(width, height);
  const wide = rows.map((row) => enlarge(row, width));
  for (let x = 0; x < width; x++) {
    const column = enlarge(wide.map((row) => row[x]), height);
    for (let y = 0; y < height; y++) {
      const heat = Math.min(Math.max(column[y], 0), 1);
      image.data.set(
        [Math.min(2 * heat, 1) * 255, Math.max(2 * heat - 1, 0) * 255, 0, heat * 255],
        4 * (y * width + x),
      );
    }
  }
  context.putImageData(image, left, top);
}

/** Find a stretch of an image's side in a picture of so many pixels: its first pixel, and how many it has. */
function span(start, length, whole, pixels) {
  const first = Math.min(Math.round((start * pixels) / whole), pixels - 1);
  return [first, Math.max(Math.round(((start + length) * pixels) / whole) - first, 1)];
}

/** Interpolate values to `size` of them; at the ends with those neighbours that there are. */
function enlarge(values, size) {
  const scale = values.length / size;
  return Array.from({ length: size }, (_, index) => {
    const centre = (index + 0.5) * scale - 0.5;
    let sum = 0;
    let weights = 0;
    for (let at = Math.floor(centre) - 1; at <= Math.floor(centre) + 2; at++) {
      if (at < 0 || at >= values.length) continue;
      const weight = cubic(Math.abs(at - centre));
      sum += weight * values[at];
      weights += weight;
    }
    return sum / weights;
  });
}

/** The cubic convolution kernel at a distance. Source: Keys 1981, doi:10.1109/TASSP.1981.1163711. */
function cubic(distance) {
  const a = SHARPNESS;
  if (distance < 1) return ((a + 2) * distance - (a + 3)) * distance * distance + 1;
  if (distance < 2) return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a;
  return 0;
}
