/** The heatmap as `POST /explain` draws it (app/overlay.py), so that both show the same. */

/** Of bicubic interpolation: the value of Pillow's `BICUBIC`. */
const SHARPNESS = -0.5;

/**
 * Draw a heatmap: black through red to yellow, transparent where it is cold.
 *
 * @param {HTMLCanvasElement} canvas - Takes the given size.
 * @param {number[][]} rows - Values in 0..1, from top to bottom.
 * @param {number} width - Pixels.
 * @param {number} height - Pixels.
 */
export function drawHeatmap(canvas, rows, width, height) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
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
  context.putImageData(image, 0, 0);
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
