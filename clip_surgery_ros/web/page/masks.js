// Masks from run lengths, and maps of similarity, as small canvases.
import { colourOf, heat } from "./palette.js";

const FILL = 105; // of 255: the picture stays visible
const HEAT = 215; // of the most similar place; half of the picture is not tinted

/** Returns the mask of a segment, row by row, of 0 and 1. COCO's runs go column by column. */
export function maskOf(segment) {
  const [, , width, height] = segment.box;
  const mask = new Uint8Array(width * height);
  let at = 0;
  let value = 0;
  for (const run of segment.runs) {
    if (value) {
      for (let i = at; i < at + run; i++) {
        mask[(i % height) * width + Math.floor(i / height)] = 1;
      }
    }
    at += run;
    value = 1 - value;
  }
  return mask;
}

function canvasOf(width, height, paint) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  paint(image.data);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Returns a canvas with a segment's mask in its colour and a firm outline. `line`: its width. */
export function maskCanvas(segment, mask, line) {
  const [, , width, height] = segment.box;
  const [red, green, blue] = colourOf(segment.label_id);
  const isInside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x];
  const isEdge = (x, y) =>
    !(isInside(x - line, y) && isInside(x + line, y) && isInside(x, y - line) && isInside(x, y + line));
  return canvasOf(width, height, (data) => {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (mask[y * width + x]) data.set([red, green, blue, isEdge(x, y) ? 255 : FILL], 4 * (y * width + x));
      }
    }
  });
}

/** Returns a canvas with a label's map, a pixel for each token, from the median (clear) to the highest (bright). */
export function heatCanvas(heatmaps, index) {
  const values = heatmaps.maps[index];
  const sorted = [...values].sort((one, other) => one - other);
  const median = sorted[Math.floor(sorted.length / 2)];
  const range = sorted.at(-1) - median || 1;
  return canvasOf(heatmaps.width, heatmaps.height, (data) => {
    values.forEach((value, i) => {
      const share = Math.max(0, (value - median) / range);
      data.set([...heat(0.2 + 0.8 * share), HEAT * Math.sqrt(share)], 4 * i);
    });
  });
}
