/** The page's side of the worker. */

/** @typedef {{answer: any, seconds: number, backend: string, errors: Record<string, number>}} Answered */

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
/** @type {Map<number, {resolve: (answer: Answered) => void, reject: (error: Error) => void, progress: (stage: string, done: number, total: number) => void}>} */
const waiting = new Map();
let count = 0;

worker.onmessage = (/** @type {MessageEvent} */ { data }) => {
  const call = waiting.get(data.id);
  if (!call) return;
  if (data.kind === "progress") return call.progress(data.stage, data.done, data.total);
  waiting.delete(data.id);
  if (data.kind === "error") call.reject(new Error(data.message));
  else call.resolve(data);
};
worker.onerror = (/** @type {ErrorEvent} */ event) => {
  for (const call of waiting.values()) call.reject(new Error(event.message || "the worker could not start: run make web again"));
  waiting.clear();
};

/**
 * An answer of a task's bundle, which is loaded and checked at the first call.
 * @param {string} task
 * @param {unknown} input
 * @param {(stage: string, done: number, total: number) => void} progress
 * @returns {Promise<Answered>}
 */
export function ask(task, input, progress) {
  return new Promise((resolve, reject) => {
    const id = count++;
    waiting.set(id, { resolve, reject, progress });
    worker.postMessage({ id, task, input });
  });
}
