/** What this page uses of onnxruntime-web, for the type checker. The file itself comes with `make web`. */
export const env: { wasm: { wasmPaths: { wasm: string }; numThreads: number } };
export type Data = Float32Array | BigInt64Array;
export class Tensor {
  constructor(type: "float32" | "int64", data: Data, shape: number[]);
  readonly data: Data;
}
export class InferenceSession {
  static create(
    bytes: Uint8Array,
    options: { executionProviders: string[]; externalData: { path: string; data: Uint8Array }[] },
  ): Promise<InferenceSession>;
  run(inputs: Record<string, Tensor>): Promise<Record<string, Tensor>>;
}
