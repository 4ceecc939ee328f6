/** Loads bundles and runs them beside the page, so that the page stays alive. A model is loaded and checked at its first use. */
import { checkKnownAnswer } from "./known_answer.js";
import { Model, backendName } from "./model.js";
import * as audioClassification from "./tasks/audio_classification.js";
import * as fillMask from "./tasks/fill_mask.js";
import * as flow from "./tasks/flow.js";
import * as imageClassification from "./tasks/image_classification.js";
import * as tokenClassification from "./tasks/token_classification.js";

/** @type {Record<string, {run: (model: Model, input: any, progress: (done: number, total: number) => void) => Promise<any>,
 *   knownAnswer: (model: Model, sample: any) => Promise<Record<string, Float32Array>>}>} */
const TASKS = {
  flow,
  "fill-mask": fillMask,
  "image-classification": imageClassification,
  "token-classification": tokenClassification,
  "audio-classification": audioClassification,
};
/** @type {Map<string, Promise<{model: Model, errors: Record<string, number>}>>} */
const loaded = new Map();

/**
 * @param {string} task
 * @param {(stage: string, done: number, total: number) => void} progress
 */
async function load(task, progress) {
  const model = await Model.load(new URL(`../bundles/${task}`, import.meta.url).href, task, (done, total) => progress("loading", done, total));
  progress("checking", 0, 1);
  return { model, errors: await checkKnownAnswer(model, TASKS[task].knownAnswer) };
}

/** @type {Promise<unknown>} */
let last = Promise.resolve(); // one call at a time: a session runs one

self.onmessage = ({ data: { id, task, input } }) => {
  last = last.then(async () => {
    /** @type {(stage: string, done: number, total: number) => void} */
    const progress = (stage, done, total) => self.postMessage({ id, kind: "progress", stage, done, total });
    try {
      if (!loaded.has(task)) loaded.set(task, load(task, progress));
      const { model, errors } = await /** @type {Promise<{model: Model, errors: Record<string, number>}>} */ (loaded.get(task));
      const started = performance.now();
      const answer = await TASKS[task].run(model, input, (done, total) => progress("running", done, total));
      const seconds = (performance.now() - started) / 1000;
      self.postMessage({ id, kind: "answer", answer, seconds, backend: backendName(), errors });
    } catch (error) {
      const failed = await loaded.get(task)?.then(() => false, () => true);
      if (failed) loaded.delete(task);
      self.postMessage({ id, kind: "error", message: error instanceof Error ? error.message : String(error) });
    }
  });
};
