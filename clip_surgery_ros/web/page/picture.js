// The picture: drawn at the screen's own resolution, with masks, names, points, a map and the cross.
import { colourOf, css } from "./palette.js";
import { heatCanvas, maskCanvas, maskOf } from "./masks.js";
import { byId, setText } from "./dom.js";

const STEP = 0.02; // of the width, for an arrow key
const FONT = "600 13px system-ui, sans-serif";
const SMALL_FONT = "600 11px system-ui, sans-serif"; // on a phone, where names would hide objects
const PHONE = 480; // width of the picture

export class PictureView {
  #canvas = byId("picture");
  #frame = null;
  #bitmap = null;
  #jpeg = null;
  #layers = [];
  #heatmaps = null;
  #heatLabel = null;
  #cross = null;
  #pending = null;
  #isDecoding = false;
  #onPoint;
  #onShown;

  /** `onPoint` takes a place {x, y} in pixels of the image, or null; `onShown` each frame that is shown. */
  constructor(onPoint, onShown) {
    this.#onPoint = onPoint;
    this.#onShown = onShown;
    new ResizeObserver(() => this.draw()).observe(this.#canvas);
    this.#canvas.addEventListener("click", (event) => {
      const place = this.#placeOf(event);
      if (place) this.point(place);
    });
    this.#canvas.addEventListener("keydown", (event) => this.#onKey(event));
    for (const id of ["show-masks", "show-names", "show-points"]) {
      byId(id).addEventListener("change", () => this.draw());
    }
  }

  get frame() {
    return this.#frame;
  }

  get jpeg() {
    return this.#jpeg;
  }

  get canvas() {
    return this.#canvas;
  }

  get cross() {
    return this.#cross;
  }

  /** Width and height of the image, in its own pixels. */
  get size() {
    const { width, height } = this.#frame ?? {};
    if (width) return [width, height];
    return this.#bitmap ? [this.#bitmap.width, this.#bitmap.height] : [4, 3];
  }

  /** Shows a frame when its picture is decoded; of frames that come meanwhile only the newest. */
  show(frame, jpeg) {
    this.#pending = { frame, jpeg };
    if (!this.#isDecoding) this.#decode();
  }

  async #decode() {
    this.#isDecoding = true;
    while (this.#pending) {
      const { frame, jpeg } = this.#pending;
      this.#pending = null;
      const bitmap = jpeg.length
        ? await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })).catch(() => null)
        : null;
      this.#take(frame, jpeg, bitmap);
    }
    this.#isDecoding = false;
  }

  #take(frame, jpeg, bitmap) {
    if (bitmap) {
      this.#bitmap?.close();
      this.#bitmap = bitmap;
      this.#jpeg = jpeg.slice();
    }
    this.#frame = frame;
    const line = this.size[0] > 400 ? 2 : 1;
    this.#layers = (frame.segments ?? []).map((segment) => {
      const mask = maskOf(segment);
      return { segment, mask, canvas: segment.runs.length ? maskCanvas(segment, mask, line) : null };
    });
    const [width, height] = this.size;
    this.#canvas.style.aspectRatio = `${width} / ${height}`;
    setText(byId("picture-note"), frame.picture_error || (this.#bitmap ? "" : "the picture of this result is gone"));
    this.draw();
    this.#onShown(frame);
  }

  /** Shows the map of a label, by its index; null shows none. */
  heat(label, heatmaps) {
    this.#heatLabel = label;
    this.#heatmaps = heatmaps;
    this.draw();
  }

  /** Sets the cross and asks what is there. */
  point(place) {
    this.#cross = place;
    this.draw();
    this.#onPoint(place);
  }

  /** Returns the segments at a place. */
  segmentsAt({ x, y }) {
    return this.#layers
      .filter(({ segment: { box: [left, top, width, height] }, mask }) => {
        const column = Math.floor(x) - left;
        const row = Math.floor(y) - top;
        return column >= 0 && row >= 0 && column < width && row < height && mask[row * width + column];
      })
      .map(({ segment }) => segment);
  }

  draw() {
    const ratio = devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.#canvas;
    this.#canvas.width = Math.max(1, Math.round(clientWidth * ratio));
    this.#canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    const context = this.#canvas.getContext("2d");
    context.scale(ratio, ratio);
    if (this.#bitmap) context.drawImage(this.#bitmap, 0, 0, clientWidth, clientHeight);
    const scale = clientWidth / this.size[0];
    const isHot = this.#drawHeat(context, clientWidth, clientHeight);
    if (byId("show-masks").checked && !isHot) this.#drawMasks(context, scale);
    if (byId("show-points").checked) this.#drawPoints(context, scale);
    if (byId("show-names").checked) this.#drawNames(context, scale, clientWidth, clientHeight);
    if (this.#cross) drawCross(context, this.#cross.x * scale, this.#cross.y * scale);
  }

  #drawHeat(context, width, height) {
    const index = this.#heatLabel;
    if (index === null || !this.#heatmaps || index >= this.#heatmaps.maps.length) return false;
    if (this.#heatmaps.sequence !== this.#frame?.query?.sequence) return false;
    context.imageSmoothingQuality = "high";
    context.drawImage(heatCanvas(this.#heatmaps, index), 0, 0, width, height);
    return true;
  }

  #drawMasks(context, scale) {
    for (const { segment, canvas } of this.#layers) {
      const [left, top, width, height] = segment.box;
      if (canvas) context.drawImage(canvas, left * scale, top * scale, width * scale, height * scale);
    }
  }

  #drawPoints(context, scale) {
    for (const { segment } of this.#layers) {
      for (const [x, y, isPositive] of segment.points) {
        // A disc on the object, a ring off it: shapes tell them apart without colours.
        context.beginPath();
        context.arc((x + 0.5) * scale, (y + 0.5) * scale, 5, 0, 2 * Math.PI);
        context.lineWidth = 2;
        context.fillStyle = isPositive ? "rgb(30 170 60)" : "rgb(0 0 0 / 35%)";
        context.strokeStyle = isPositive ? "white" : "rgb(255 90 90)";
        context.fill();
        context.stroke();
      }
    }
  }

  #drawNames(context, scale, width, height) {
    context.font = width < PHONE ? SMALL_FONT : FONT;
    context.textBaseline = "middle";
    const taken = [];
    for (const { segment } of this.#layers) {
      const text = `${segment.track_id || segment.label}  ${segment.score.toFixed(2)}`;
      const wide = context.measureText(text).width + 28;
      const chip = { x: segment.box[0] * scale, y: segment.box[1] * scale - 24, wide, high: 22 };
      chip.x = Math.max(2, Math.min(chip.x, width - wide - 2));
      chip.y = Math.max(2, Math.min(chip.y, height - 24));
      while (taken.some((other) => overlap(chip, other)) && chip.y < height - 46) chip.y += 24;
      taken.push(chip);
      context.fillStyle = "rgb(12 17 23 / 86%)";
      context.beginPath();
      context.roundRect(chip.x, chip.y, wide, chip.high, 6);
      context.fill();
      context.fillStyle = css(colourOf(segment.label_id));
      context.strokeStyle = "rgb(255 255 255 / 80%)";
      context.lineWidth = 1;
      context.beginPath();
      context.roundRect(chip.x + 6.5, chip.y + 6.5, 9, 9, 2);
      context.fill();
      context.stroke();
      context.fillStyle = "white";
      context.fillText(text, chip.x + 21, chip.y + 11.5);
    }
  }

  #placeOf(event) {
    if (!this.#frame) return null;
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    const [wide, high] = this.size;
    return { x: ((event.clientX - left) / width) * wide, y: ((event.clientY - top) / height) * high };
  }

  #onKey(event) {
    const [wide, high] = this.size;
    const step = STEP * wide;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (event.key === "Escape") {
      this.point(null);
    } else if (event.key === "Enter" && this.#frame) {
      this.point(this.#cross ?? { x: wide / 2, y: high / 2 });
    } else if (moves[event.key] && this.#frame) {
      const { x, y } = this.#cross ?? { x: wide / 2, y: high / 2 };
      const [right, down] = moves[event.key];
      this.point({
        x: Math.min(wide - 1, Math.max(0, x + right)),
        y: Math.min(high - 1, Math.max(0, y + down)),
      });
    } else {
      return;
    }
    event.preventDefault();
  }
}

function overlap(one, other) {
  return one.x < other.x + other.wide && other.x < one.x + one.wide && Math.abs(one.y - other.y) < one.high;
}

function drawCross(context, x, y) {
  for (const [colour, width] of [["rgb(0 0 0 / 70%)", 5], ["white", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 5 * dx, y + 5 * dy);
      context.lineTo(x + 14 * dx, y + 14 * dy);
    }
    context.stroke();
  }
}
