/** Bundles over HTTP: each file is checked against the manifest before it is cached or used. */

/** A bundle, or a part of it, that must not be used. */
export class IntegrityError extends Error {}

const SCHEMA_MAJOR = "1";
const MAX_MANIFEST_BYTES = 4 << 20;
const MAX_FILE_BYTES = 1 << 30;
const FILE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,98}[A-Za-z0-9_]$/;
const CACHE = "perceiver-bundles";

/**
 * @typedef {{path: string, size: number, sha256: string}} FileEntry
 * @typedef {{file: string, inputs: {name: string}[], outputs: {name: string}[]}} GraphEntry
 * @typedef {{schema_version: string, task: string, precision: string, target: string, sha256: string,
 *   processor: any, graphs: Record<string, GraphEntry>, files: FileEntry[],
 *   parity: {known_answer_tolerance: Record<string, number>}}} Manifest
 * @typedef {{manifest: Manifest, files: Map<string, Uint8Array<ArrayBuffer>>}} Bundle
 */

/**
 * sha256 in hex.
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export async function sha256(bytes) {
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...sum].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Read a manifest. Throws `IntegrityError` for one that is damaged, of another schema, or not for this task or engine.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {string} task
 * @returns {Promise<Manifest>}
 */
export async function readManifest(bytes, task) {
  const text = new TextDecoder().decode(bytes);
  const cut = text.lastIndexOf(',\n  "sha256": "');
  const body = new TextEncoder().encode(`${text.slice(0, Math.max(cut, 0))}\n}`);
  const end = `,\n  "sha256": "${await sha256(body)}"\n}\n`;
  if (cut < 0 || text.slice(cut) !== end) {
    throw new IntegrityError("manifest.json is damaged or was edited: its sha256 does not fit. Copy the bundle again");
  }
  /** @type {Manifest} */
  const manifest = JSON.parse(text);
  if (manifest.schema_version.split(".")[0] !== SCHEMA_MAJOR) {
    throw new IntegrityError(`manifest.json has schema version ${manifest.schema_version}, this page reads ${SCHEMA_MAJOR}.x`);
  }
  if (manifest.task !== task) {
    throw new IntegrityError(`manifest.json is of the task ${manifest.task}, expected ${task}`);
  }
  if (manifest.target !== "ort") {
    throw new IntegrityError(`manifest.json is for ${manifest.target}: export the bundle for ONNX Runtime (--target ort)`);
  }
  for (const { path, size, sha256: sum } of manifest.files) {
    if (!FILE_NAME.test(path) || !Number.isInteger(size) || size < 0 || size > MAX_FILE_BYTES || !/^[0-9a-f]{64}$/.test(sum)) {
      throw new IntegrityError(`manifest.json lists ${path} with a name, size or sha256 that cannot be: do not use this bundle`);
    }
  }
  return manifest;
}

/**
 * Throws `IntegrityError`, which names the file, unless its bytes are what the manifest lists.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @param {FileEntry} entry
 */
export async function checkFile(bytes, entry) {
  if (bytes.length !== entry.size) {
    throw new IntegrityError(`${entry.path} has ${bytes.length} bytes, the manifest says ${entry.size}: copy the bundle again`);
  }
  if ((await sha256(bytes)) !== entry.sha256) {
    throw new IntegrityError(`${entry.path} is damaged: its sha256 is not the manifest's. Copy the bundle again`);
  }
}

/**
 * Read at most `most` bytes of an answer.
 * @param {Response} response
 * @param {string} name
 * @param {number} most
 * @param {(bytes: number) => void} progress with the bytes that came
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
async function readBody(response, name, most, progress) {
  if (!response.ok || !response.body) {
    throw new IntegrityError(`${name} cannot be fetched (${response.status}): run make web, which exports the bundles`);
  }
  const reader = response.body.getReader();
  const parts = [];
  let total = 0;
  for (let step = await reader.read(); !step.done; step = await reader.read()) {
    total += step.value.length;
    if (total > most) {
      await reader.cancel();
      throw new IntegrityError(`${name} has more than the ${most} bytes allowed: copy the bundle again`);
    }
    parts.push(step.value);
    progress(step.value.length);
  }
  const whole = new Uint8Array(total);
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

/**
 * A file from the cache or the server. Cached bytes are checked again; those that fail are fetched anew.
 * @param {string} url
 * @param {FileEntry} entry
 * @param {(bytes: number) => void} progress
 */
async function readFile(url, entry, progress) {
  const cache = await caches.open(CACHE);
  const key = `${url}?sha256=${entry.sha256}`;
  const kept = await cache.match(key);
  if (kept) {
    const bytes = new Uint8Array(await kept.arrayBuffer());
    const intact = await checkFile(bytes, entry).then(() => true, () => false);
    if (intact) {
      progress(bytes.length);
      return bytes;
    }
    await cache.delete(key);
  }
  const bytes = await readBody(await fetch(url, { cache: "no-store" }), entry.path, entry.size, progress);
  await checkFile(bytes, entry);
  await cache.put(key, new Response(bytes)).catch(() => undefined); // no room: the next visit fetches it again
  return bytes;
}

/**
 * Fetch and check a bundle's manifest and the files that running needs.
 * @param {string} folder its address
 * @param {string} task
 * @param {(done: number, total: number) => void} progress in bytes
 * @returns {Promise<Bundle>}
 */
export async function readBundle(folder, task, progress) {
  const response = await fetch(`${folder}/manifest.json`, { cache: "no-store" });
  const manifest = await readManifest(await readBody(response, "manifest.json", MAX_MANIFEST_BYTES, () => undefined), task);
  const total = manifest.files.reduce((sum, entry) => sum + entry.size, 0);
  let done = 0;
  const files = new Map();
  for (const entry of manifest.files) {
    files.set(entry.path, await readFile(`${folder}/${entry.path}`, entry, (bytes) => progress((done += bytes), total)));
  }
  return { manifest, files };
}
