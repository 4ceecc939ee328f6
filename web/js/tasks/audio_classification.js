/** A sound in, its labels with probabilities out. */
import { floats } from "../model.js";
import { softmax } from "../softmax.js";

/** @typedef {import("../model.js").Model} Model */

/**
 * Windows of the model's length, the last at the sound's end; a shorter sound has silence after it.
 * @param {Float32Array} samples
 * @param {number} length
 */
function windows(samples, length) {
  const last = samples.length - length;
  const starts = [];
  for (let start = 0; start < last; start += length) starts.push(start);
  return [...starts, Math.max(0, last)].map((start) => {
    const window = new Float32Array(length);
    window.set(samples.subarray(start, start + length));
    return window;
  });
}

/**
 * @param {Model} model
 * @param {Float32Array} window
 */
async function soundLogits(model, window) {
  const shape = model.manifest.processor.channel ? [1, window.length, 1] : [1, window.length];
  const { latents } = await model.run("encode", { audio: floats(window, shape) });
  const { logits } = await model.run("decode", { latents });
  return /** @type {Float32Array} */ (logits.data);
}

/**
 * Labels, the most probable first: the mean over the windows; and the best of each window. Throws for samples of another rate than the model's.
 * @param {Model} model
 * @param {{samples: Float32Array, rate: number}} input
 * @param {(done: number, total: number) => void} progress in windows
 */
export async function run(model, { samples, rate }, progress) {
  const { sampling_rate: wanted, samples: length, problem } = model.manifest.processor;
  if (problem !== "single_label") throw new Error("this page shows bundles of one label a sound");
  if (rate !== wanted) throw new Error(`the sound has ${rate} Hz, this bundle takes ${wanted}`);
  const names = JSON.parse(new TextDecoder().decode(model.files.get("labels.json")));
  const parts = windows(samples, length);
  /** @type {{label: string, probability: number}[]} */
  const heard = [];
  const sums = new Float64Array(names.length);
  for (const [place, part] of parts.entries()) {
    const probabilities = softmax(await soundLogits(model, part));
    probabilities.forEach((probability, label) => { sums[label] += probability; });
    const best = probabilities.indexOf(Math.max(...probabilities));
    heard.push({ label: String(names[best]), probability: probabilities[best] });
    progress(place + 1, parts.length);
  }
  const labels = Array.from(sums, (sum, label) => ({ label: String(names[label]), probability: sum / parts.length }));
  return { labels: labels.sort((a, b) => b.probability - a.probability), windows: heard };
}

/**
 * @param {Model} model
 * @param {Map<string, import("../npz.js").NpyArray>} sample
 */
export async function knownAnswer(model, sample) {
  const samples = Float32Array.from(/** @type {Float32Array} */ (sample.get("input.audio")?.data));
  return { logits: await soundLogits(model, windows(samples, model.manifest.processor.samples)[0]) };
}
