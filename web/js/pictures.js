/** Pictures of the page: files to pixels, a field to colours and arrows. */
import { flowColors } from "./processing/flow.js";

/** @typedef {import("./processing/image.js").Picture} Picture */

const MAX_PIXELS = 1 << 22;

/**
 * A picture's RGB bytes, as stored: no colour conversion, transparency dropped.
 * @param {Blob} file
 * @returns {Promise<Picture>}
 */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" }).catch(() => {
    throw new Error("this file is no picture that the browser reads: give PNG or JPEG");
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) throw new Error(`the picture has ${width}x${height} pixels, more than this page takes: make it smaller`);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(width, height).getContext("2d"));
  context.drawImage(bitmap, 0, 0);
  return fromRgba(context.getImageData(0, 0, width, height));
}

/**
 * @param {ImageData} image
 * @returns {Picture}
 */
export function fromRgba({ data, width, height }) {
  const rgb = new Uint8Array(width * height * 3);
  for (let pixel = 0; pixel < width * height; pixel++) rgb.set(data.subarray(pixel * 4, pixel * 4 + 3), pixel * 3);
  return { data: rgb, height, width };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Uint8ClampedArray<ArrayBuffer>} rgba
 * @param {number} width
 * @param {number} height
 */
function show(canvas, rgba, width, height) {
  [canvas.width, canvas.height] = [width, height];
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.putImageData(new ImageData(rgba, width, height), 0, 0);
  return context;
}

/**
 * A field (height, width, 2) as colours, and as arrows on its first frame.
 * @param {HTMLCanvasElement} colors
 * @param {HTMLCanvasElement} arrows
 * @param {Picture} frame
 * @param {Float32Array} flow
 */
export function showFlow(colors, arrows, frame, flow) {
  const { width, height, data } = frame;
  show(colors, flowColors(flow), width, height);
  const rgba = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let pixel = 0; pixel < width * height; pixel++) rgba.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
  const context = show(arrows, rgba, width, height);
  const step = Math.max(12, Math.round(width / 20));
  for (const [color, line] of /** @type {[string, number][]} */ ([["#000", 3], ["#ffe14d", 1.5]])) {
    [context.strokeStyle, context.lineWidth] = [color, line];
    for (let y = step / 2; y < height; y += step) for (let x = step / 2; x < width; x += step) drawArrow(context, flow, Math.floor(x), Math.floor(y), width);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Float32Array} flow
 * @param {number} x
 * @param {number} y
 * @param {number} width
 */
function drawArrow(context, flow, x, y, width) {
  const [dx, dy] = flow.subarray((y * width + x) * 2, (y * width + x) * 2 + 2);
  if (Math.hypot(dx, dy) < 1) return;
  const [endX, endY, angle] = [x + dx, y + dy, Math.atan2(dy, dx)];
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(endX, endY);
  for (const side of [-2.6, 2.6]) {
    context.moveTo(endX, endY);
    context.lineTo(endX + 4 * Math.cos(angle + side), endY + 4 * Math.sin(angle + side));
  }
  context.stroke();
}
