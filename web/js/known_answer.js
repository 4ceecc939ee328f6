/** The bundle's known answer, run on this browser before anything else is. */
import { IntegrityError } from "./bundle.js";
import { readNpz } from "./npz.js";

/**
 * Throws `IntegrityError` unless each output is within the manifest's tolerance. Returns the largest error of each.
 * @param {import("./model.js").Model} model
 * @param {(model: any, sample: Map<string, import("./npz.js").NpyArray>) => Promise<Record<string, Float32Array>>} answer
 */
export async function checkKnownAnswer(model, answer) {
  const bytes = model.files.get("sample.npz");
  if (!bytes) throw new IntegrityError("the bundle has no sample.npz, so it cannot be checked here: export the bundle again");
  const sample = await readNpz(bytes);
  const found = await answer(model, sample);
  /** @type {Record<string, number>} */
  const errors = {};
  for (const [name, allowed] of Object.entries(model.manifest.parity.known_answer_tolerance)) {
    const expected = sample.get(`output.${name}`);
    if (!expected || !found[name] || expected.data.length !== found[name].length) {
      throw new IntegrityError(`the known answer's ${name} is missing or of another size: export the bundle again`);
    }
    errors[name] = found[name].reduce((most, value, index) => {
      const error = Math.abs(value - Number(expected.data[index]));
      return error > most || Number.isNaN(error) ? error : most;
    }, 0);
    if (!(errors[name] <= allowed)) {
      throw new IntegrityError(`the known answer's ${name} is off by ${errors[name].toPrecision(3)}, ${allowed.toPrecision(3)} is allowed: this browser's engine is not right for this bundle, nothing was run`);
    }
  }
  if (!Object.keys(errors).length) throw new IntegrityError("the manifest gives no tolerance for the known answer: export the bundle again");
  return errors;
}
