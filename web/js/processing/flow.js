/** What surrounds the flow graphs: frames to tiles, query positions, blending of tiles, colours. */

/** @typedef {import("./image.js").Picture} Picture */

/**
 * Where the tiles of one side begin: evenly spaced, as few as the overlap allows.
 * @param {number} length
 * @param {number} tile
 * @param {number} overlap pixels that neighbours share at least
 */
export function tileOrigins(length, tile, overlap) {
  if (length <= tile) return [0];
  const count = Math.ceil((length - overlap) / (tile - overlap));
  return Array.from({ length: count }, (_, index) => roundEven((index * (length - tile)) / (count - 1)));
}

/** @param {number} value rounded half to even, as Python's round */
function roundEven(value) {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

/**
 * A tile of two frames, borders repeated where they are smaller: float32 (2, 3, height, width) in [-1, 1].
 * @param {Picture[]} frames
 * @param {number} top
 * @param {number} left
 * @param {number} height
 * @param {number} width
 */
export function tileInput(frames, top, left, height, width) {
  const plane = height * width;
  const result = new Float32Array(6 * plane);
  frames.forEach((frame, number) => {
    for (let y = 0; y < height; y++) {
      const row = Math.min(top + y, frame.height - 1);
      for (let x = 0; x < width; x++) {
        const from = (row * frame.width + Math.min(left + x, frame.width - 1)) * 3;
        for (let channel = 0; channel < 3; channel++) {
          result[(number * 3 + channel) * plane + y * width + x] = Math.fround(frame.data[from + channel] / 127.5) - 1;
        }
      }
    }
  });
  return result;
}

/**
 * linspace(-1, 1, steps) as torch rounds it.
 * @param {number} steps
 */
export function linearPositions(steps) {
  const step = Math.fround(2 / (steps - 1));
  const result = new Float32Array(steps);
  for (let index = 0; index < steps; index++) {
    result[index] = index < Math.floor(steps / 2) ? step * index - 1 : -Math.fround(step * (steps - 1 - index) - 1);
  }
  return result;
}

/**
 * Pixels (index = row · width + column) to (y, x) in [-1, 1]: float32 (K, 2).
 * @param {number[]} pixels
 * @param {number} height
 * @param {number} width
 */
export function queryPositions(pixels, height, width) {
  const [rows, columns] = [linearPositions(height), linearPositions(width)];
  const result = new Float32Array(pixels.length * 2);
  pixels.forEach((pixel, index) => {
    result[index * 2] = rows[Math.floor(pixel / width)];
    result[index * 2 + 1] = columns[pixel % width];
  });
  return result;
}

/**
 * How much a pixel of a tile counts: its distance to the nearest edge, 1 at the edge.
 * @param {number} y
 * @param {number} x
 * @param {number} height
 * @param {number} width
 */
export function blendWeight(y, x, height, width) {
  return Math.min(y + 1, height - y, x + 1, width - x);
}

/** Steps between neighbouring hues of the Middlebury colour wheel (Baker et al., IJCV 2011), and the hues. */
const ARCS = [15, 6, 4, 11, 13, 6];
const HUES = [[255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255], [255, 0, 0]];
const WHEEL = ARCS.flatMap((steps, arc) =>
  Array.from({ length: steps }, (_, step) =>
    HUES[arc].map((start, channel) => Math.fround(Math.floor(start + (HUES[arc + 1][channel] - start) * (step / steps)) / 255))));

/**
 * Flow (H, W, 2) in pixels to RGBA bytes (H, W, 4): hue is direction, strength is length, the longest has full colour.
 * @param {Float32Array} flow
 */
export function flowColors(flow) {
  const count = flow.length / 2;
  let longest = 1e-6;
  for (let pixel = 0; pixel < count; pixel++) longest = Math.max(longest, Math.hypot(flow[2 * pixel], flow[2 * pixel + 1]));
  const result = new Uint8ClampedArray(count * 4);
  for (let pixel = 0; pixel < count; pixel++) {
    const [dx, dy] = [flow[2 * pixel], flow[2 * pixel + 1]];
    const radius = Math.min(1, Math.hypot(dx, dy) / longest);
    const place = ((Math.atan2(-dy, -dx) / Math.PI + 1) / 2) * (WHEEL.length - 1);
    const below = Math.floor(place);
    const above = WHEEL[(below + 1) % WHEEL.length];
    for (let channel = 0; channel < 3; channel++) {
      const hue = (1 - (place - below)) * WHEEL[below][channel] + (place - below) * above[channel];
      result[pixel * 4 + channel] = Math.floor(255 * (1 - radius * (1 - hue)));
    }
    result[pixel * 4 + 3] = 255;
  }
  return result;
}
