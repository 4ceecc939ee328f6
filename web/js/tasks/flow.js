/** Optical flow: two frames in, the motion of every pixel out. */
import { floats } from "../model.js";
import { blendWeight, queryPositions, tileInput, tileOrigins } from "../processing/flow.js";

/** @typedef {import("../model.js").Model} Model */
/** @typedef {import("../processing/image.js").Picture} Picture */

/**
 * Motion (K, 2) in pixels of chosen pixels of a tile.
 * @param {Model} model
 * @param {Float32Array} frames (2, 3, height, width)
 * @param {number[]} pixels row · width + column of each
 * @param {number} height
 * @param {number} width
 */
async function decodeTile(model, frames, pixels, height, width) {
  const { flow_scale: scale, query_chunk: chunk } = model.manifest.processor;
  const encoded = await model.run("encode", { frames: floats(frames, [1, 2, 3, height, width]) });
  const features = /** @type {Float32Array} */ (encoded.query_features.data);
  const channels = features.length / (height * width);
  const result = new Float32Array(pixels.length * 2);
  for (let start = 0; start < pixels.length; start += chunk) {
    const piece = pixels.slice(start, start + chunk);
    const rows = new Float32Array(piece.length * channels);
    piece.forEach((pixel, row) => rows.set(features.subarray(pixel * channels, (pixel + 1) * channels), row * channels));
    const decoded = await model.run("decode", {
      latents: encoded.latents,
      query_features: floats(rows, [1, piece.length, channels]),
      query_positions: floats(queryPositions(piece, height, width), [1, piece.length, 2]),
    });
    /** @type {Float32Array} */ (decoded.flow.data).forEach((value, index) => { result[start * 2 + index] = value * scale; });
  }
  return result;
}

/**
 * The field (height, width, 2) from the first frame to the second.
 * @param {Model} model
 * @param {{frames: Picture[]}} input of one size
 * @param {(done: number, total: number) => void} progress in tiles
 */
export async function run(model, { frames }, progress) {
  const [{ height, width }, second] = frames;
  if (height !== second.height || width !== second.width) {
    throw new Error(`the frames differ in size: ${width}x${height} and ${second.width}x${second.height}; crop both alike`);
  }
  const { tile, min_overlap: overlap } = model.manifest.processor;
  const columns = tileOrigins(width, tile[1], overlap);
  const places = tileOrigins(height, tile[0], overlap).flatMap((top) => columns.map((left) => [top, left]));
  const sum = new Float64Array(height * width * 2);
  const weight = new Float64Array(height * width);
  const all = Array.from({ length: tile[0] * tile[1] }, (_, pixel) => pixel);
  for (const [index, [top, left]] of places.entries()) {
    const motion = await decodeTile(model, tileInput(frames, top, left, tile[0], tile[1]), all, tile[0], tile[1]);
    for (let y = 0; y < tile[0] && top + y < height; y++) {
      for (let x = 0; x < tile[1] && left + x < width; x++) {
        const [own, target] = [blendWeight(y, x, tile[0], tile[1]), (top + y) * width + left + x];
        weight[target] += own;
        for (const axis of [0, 1]) sum[target * 2 + axis] += own * motion[(y * tile[1] + x) * 2 + axis];
      }
    }
    progress(index + 1, places.length);
  }
  return { flow: Float32Array.from(sum, (value, index) => value / weight[index >> 1]), height, width };
}

/**
 * The bundle's known answer, computed here.
 * @param {Model} model
 * @param {Map<string, import("../npz.js").NpyArray>} sample
 */
export async function knownAnswer(model, sample) {
  const [first, second, points] = ["frame1", "frame2", "points"].map((name) => sample.get(`input.${name}`));
  if (!first || !second || !points) throw new Error("the known answer lacks an input: export the bundle again");
  const [height, width] = first.shape;
  const frames = [first, second].map(({ data }) => ({ data: /** @type {Uint8Array} */ (data), height, width }));
  const pixels = Array.from({ length: points.shape[0] }, (_, k) => Number(points.data[2 * k + 1]) * width + Number(points.data[2 * k]));
  return { flow: await decodeTile(model, tileInput(frames, 0, 0, height, width), pixels, height, width) };
}
