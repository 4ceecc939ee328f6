/** Masked bytes: a text with `[MASK]` in it, what may stand there out. */
import { integers } from "../model.js";
import { FIRST_BYTE, MASK, decodeText, encodeText } from "../processing/text.js";
import { softmax } from "../softmax.js";

/** @typedef {import("../model.js").Model} Model */

/**
 * Logits of each mask: (K, vocabulary).
 * @param {Model} model
 * @param {number[]} ids
 * @param {number[]} places
 */
async function maskLogits(model, ids, places) {
  const inputs = { input_ids: integers(ids, [1, ids.length]), attention_mask: integers(ids.map(() => 1), [1, ids.length]) };
  const { latents } = await model.run("encode", inputs);
  const { logits } = await model.run("decode", { latents, query_positions: integers(places, [1, places.length]) });
  return /** @type {Float32Array} */ (logits.data);
}

/**
 * @param {Model} model
 * @param {string} text
 */
function maskedIds(model, text) {
  const { max_length: most, added_tokens: added = [] } = model.manifest.processor;
  if (added.length) throw new Error("this bundle has added tokens, which this page does not know: use perceiver run");
  const ids = encodeText(text, most);
  const places = ids.flatMap((id, place) => (id === MASK ? [place] : []));
  if (!places.length) throw new Error("the text has no mask: write [MASK], or [MASK*9] for nine bytes, where something is missing");
  return { ids, places };
}

/**
 * The text with the likeliest byte in each mask, and how sure each is.
 * @param {Model} model
 * @param {{text: string}} input
 */
export async function run(model, { text }) {
  const { ids, places } = maskedIds(model, text);
  const logits = await maskLogits(model, ids, places);
  const size = logits.length / places.length;
  const pieces = places.map((place, row) => {
    const probabilities = softmax(logits.subarray(row * size, (row + 1) * size));
    const best = probabilities.reduce((top, value, id) => (id >= FIRST_BYTE && value > probabilities[top] ? id : top), FIRST_BYTE);
    ids[place] = best;
    return { position: place - 1, text: decodeText([best]), probability: probabilities[best] };
  });
  return { filled: decodeText(ids), pieces, logits };
}

/**
 * @param {Model} model
 * @param {Map<string, import("../npz.js").NpyArray>} sample
 */
export async function knownAnswer(model, sample) {
  const text = new TextDecoder().decode(/** @type {Uint8Array<ArrayBuffer>} */ (sample.get("input.text")?.data));
  const { ids, places } = maskedIds(model, text);
  return { logits: await maskLogits(model, ids, places) };
}
