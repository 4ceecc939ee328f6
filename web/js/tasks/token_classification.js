/** A text in, labelled spans of it out. */
import { integers } from "../model.js";
import { encodeText } from "../processing/text.js";
import { labelledSpans } from "../processing/token_labels.js";
import { softmax } from "../softmax.js";

/** @typedef {import("../model.js").Model} Model */

/**
 * Logits of each token, `[CLS]` and `[SEP]` among them: (tokens, labels).
 * @param {Model} model
 * @param {string} text
 */
async function tokenLogits(model, text) {
  const { max_length: most, added_tokens: added = [] } = model.manifest.processor;
  if (added.length) throw new Error("this bundle has added tokens, which this page does not know: use perceiver run");
  const ids = encodeText(text, most, { plain: true });
  const inputs = { input_ids: integers(ids, [1, ids.length]), attention_mask: integers(ids.map(() => 1), [1, ids.length]) };
  const { logits } = await model.run("decode", await model.run("encode", inputs));
  return /** @type {Float32Array} */ (logits.data);
}

/**
 * @param {Model} model
 * @param {{text: string}} input
 */
export async function run(model, { text }) {
  const names = JSON.parse(new TextDecoder().decode(model.files.get("labels.json"))).map(String);
  const logits = await tokenLogits(model, text);
  const rows = Array.from({ length: logits.length / names.length }, (_, row) =>
    Float32Array.from(softmax(logits.subarray(row * names.length, (row + 1) * names.length))));
  return { spans: labelledSpans(text, rows.slice(1, -1), names, model.manifest.processor.answer) };
}

/**
 * @param {Model} model
 * @param {Map<string, import("../npz.js").NpyArray>} sample
 */
export async function knownAnswer(model, sample) {
  const text = new TextDecoder().decode(/** @type {Uint8Array<ArrayBuffer>} */ (sample.get("input.text")?.data));
  return { logits: await tokenLogits(model, text) };
}
