/** numpy's .npz files: the arrays of a bundle's known answer. */
import { IntegrityError } from "./bundle.js";

/** @typedef {{data: Uint8Array | Float32Array | BigInt64Array, shape: number[]}} NpyArray */

const TYPES = { "|u1": Uint8Array, "<f4": Float32Array, "<i8": BigInt64Array };
const MAX_BYTES = 1 << 28;
const DIRECTORY_ENTRY = 0x02014b50;
const DIRECTORY_END = 0x06054b50;

/**
 * A .npy file's array.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {string} name
 * @returns {NpyArray}
 */
function readNpy(bytes, name) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint16(8, true);
  const header = new TextDecoder().decode(bytes.subarray(10, 10 + length));
  const descr = /'descr': '([^']+)'/.exec(header)?.[1] ?? "";
  const shape = (/'shape': \(([^)]*)\)/.exec(header)?.[1] ?? "").split(",").filter((side) => side.trim()).map(Number);
  const Type = TYPES[/** @type {keyof typeof TYPES} */ (descr)];
  const count = shape.reduce((product, side) => product * side, 1);
  const body = bytes.slice(10 + length);
  if (!Type || !header.includes("'fortran_order': False") || body.length !== count * Type.BYTES_PER_ELEMENT) {
    throw new IntegrityError(`sample.npz: ${name} is ${descr} of shape ${shape}, which this page does not read`);
  }
  return { data: new Type(body.buffer), shape };
}

/**
 * Every array of an .npz file, by name. Throws `IntegrityError`.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Map<string, NpyArray>>}
 */
export async function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = bytes.length - 22;
  if (end < 0 || view.getUint32(end, true) !== DIRECTORY_END) {
    throw new IntegrityError("sample.npz is no archive: export the bundle again");
  }
  const found = new Map();
  let place = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(place, true) !== DIRECTORY_ENTRY || view.getUint32(place + 24, true) > MAX_BYTES) {
      throw new IntegrityError("sample.npz has a member that cannot be read: export the bundle again");
    }
    const compressed = view.getUint16(place + 10, true) === 8;
    const [size, nameLength, extra, comment] = [
      view.getUint32(place + 20, true), view.getUint16(place + 28, true), view.getUint16(place + 30, true),
      view.getUint16(place + 32, true),
    ];
    const name = new TextDecoder().decode(bytes.subarray(place + 46, place + 46 + nameLength)).replace(/\.npy$/, "");
    const local = view.getUint32(place + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = bytes.slice(start, start + size);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
    const plain = compressed ? new Uint8Array(await new Response(stream).arrayBuffer()) : packed;
    found.set(name, readNpy(plain, name));
    place += 46 + nameLength + extra + comment;
  }
  return found;
}
