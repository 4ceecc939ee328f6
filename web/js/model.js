/** A bundle's graphs in ONNX Runtime Web. */
import * as ort from "../vendor/ort.wasm.bundle.min.mjs";
import { readBundle } from "./bundle.js";

ort.env.wasm.wasmPaths = { wasm: new URL("../vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;

const WEIGHTS = "weights.safetensors";

/** What the graphs run on, for people. */
export function backendName() {
  const count = ort.env.wasm.numThreads;
  return `WebAssembly, ${count} ${count === 1 ? "thread" : "threads"}`;
}

/**
 * @param {Float32Array} data
 * @param {number[]} shape
 */
export const floats = (data, shape) => new ort.Tensor("float32", data, shape);

/**
 * @param {number[]} values
 * @param {number[]} shape
 */
export const integers = (values, shape) => new ort.Tensor("int64", BigInt64Array.from(values, BigInt), shape);

/** The sessions of a bundle: one for each graph. */
export class Model {
  /**
   * @param {import("./bundle.js").Bundle} bundle
   * @param {Map<string, ort.InferenceSession>} sessions
   */
  constructor(bundle, sessions) {
    this.manifest = bundle.manifest;
    this.files = bundle.files;
    this.sessions = sessions;
  }

  /**
   * @param {string} folder
   * @param {string} task
   * @param {(done: number, total: number) => void} progress
   */
  static async load(folder, task, progress) {
    const bundle = await readBundle(folder, task, progress);
    const weights = bundle.files.get(WEIGHTS);
    const externalData = weights ? [{ path: WEIGHTS, data: weights }] : [];
    const sessions = new Map();
    for (const [name, graph] of Object.entries(bundle.manifest.graphs)) {
      const bytes = bundle.files.get(graph.file);
      if (!bytes) throw new Error(`the manifest does not list ${graph.file}: export the bundle again`);
      sessions.set(name, await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], externalData }));
    }
    return new Model(bundle, sessions);
  }

  /**
   * Run a graph.
   * @param {string} graph
   * @param {Record<string, ort.Tensor>} inputs
   */
  async run(graph, inputs) {
    const session = this.sessions.get(graph);
    if (!session) throw new Error(`the bundle has no graph ${graph}`);
    return session.run(inputs);
  }
}
