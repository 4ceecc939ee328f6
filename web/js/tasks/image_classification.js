/** A picture in, its labels with probabilities out. */
import { floats } from "../model.js";
import { modelPixels } from "../processing/image.js";
import { softmax } from "../softmax.js";

/** @typedef {import("../model.js").Model} Model */

/**
 * @param {Model} model
 * @param {import("../processing/image.js").Picture} picture
 */
async function pictureLogits(model, picture) {
  const { processor } = model.manifest;
  const pixels = modelPixels(picture, processor);
  const { latents } = await model.run("encode", { pixel_values: floats(pixels, [1, 3, ...processor.size]) });
  const { logits } = await model.run("decode", { latents });
  return /** @type {Float32Array} */ (logits.data);
}

/**
 * Labels, the most probable first. Throws for a bundle whose labels do not exclude each other.
 * @param {Model} model
 * @param {{picture: import("../processing/image.js").Picture}} input
 */
export async function run(model, { picture }) {
  if (model.manifest.processor.problem !== "single_label") throw new Error("this page shows bundles of one label a picture");
  const names = JSON.parse(new TextDecoder().decode(model.files.get("labels.json")));
  const probabilities = softmax(await pictureLogits(model, picture));
  const labels = probabilities.map((probability, index) => ({ label: String(names[index]), probability }));
  return { labels: labels.sort((a, b) => b.probability - a.probability) };
}

/**
 * @param {Model} model
 * @param {Map<string, import("../npz.js").NpyArray>} sample
 */
export async function knownAnswer(model, sample) {
  const image = sample.get("input.image");
  if (!image || image.shape[2] !== 3) throw new Error("the known answer lacks a colour picture: export the bundle again");
  const [height, width] = image.shape;
  return { logits: await pictureLogits(model, { data: /** @type {Uint8Array} */ (image.data), height, width }) };
}
