/** The page: forms to the worker's questions, answers to what is shown. An `answer` event on `document` carries the numbers. */
import { Camera } from "./camera.js";
import { ask } from "./client.js";
import { drawingPad } from "./pad.js";
import { fromRgba, readPicture, showFlow } from "./pictures.js";
import { readSound, record } from "./sounds.js";

/** @type {(id: string) => any} */
const byId = (id) => document.getElementById(id);
/** @type {Record<string, string>} */
const STAGES = { loading: "Loading and checking files", checking: "Checking the known answer", running: "Running" };
const RATE = 16000; // Hz, of the sounds' bundle
const camera = new Camera();
const pad = drawingPad(byId("digit-pad"));

/**
 * Ask, and say on the form's status line how far it is and what went wrong. Gives whether there is an answer.
 * @param {string} name of the form
 * @param {string} task
 * @param {() => Promise<any>} read the input
 * @param {(answer: any, input: any) => void} show
 */
async function answer(name, task, read, show) {
  const [status, buttons] = [byId(`${name}-status`), byId(name).querySelectorAll("button:not([aria-pressed])")];
  status.classList.remove("wrong");
  for (const button of buttons) button.disabled = true;
  try {
    const input = await read();
    const found = await ask(task, input, (stage, done, total) => {
      status.textContent = `${STAGES[stage]}: ${Math.round((100 * done) / total)} %`;
    });
    show(found.answer, input);
    status.textContent = `${found.seconds.toFixed(2)} s on ${found.backend}. Files intact, known answer right.`;
    document.dispatchEvent(new CustomEvent("answer", { detail: { task, ...found } }));
    return true;
  } catch (error) {
    status.textContent = error instanceof Error ? error.message : String(error);
    status.classList.add("wrong");
    document.dispatchEvent(new CustomEvent("answer", { detail: { task, refused: status.textContent } }));
    return false;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

/**
 * Labels in words.
 * @param {{label: string, probability: number}[]} labels
 */
const inWords = (labels) => labels.map(({ label, probability }) => `${label} (${(100 * probability).toFixed(1)} %)`).join(", ");

/**
 * The text with its spans marked, each followed by its label.
 * @param {string} text
 * @param {import("./processing/token_labels.js").Span[]} spans
 */
function marked(text, spans) {
  const characters = Array.from(text);
  let done = 0;
  const parts = spans.flatMap(({ start, end, label }) => {
    const [mark, name] = [document.createElement("mark"), document.createElement("small")];
    [mark.textContent, name.textContent] = [characters.slice(start, end).join(""), ` ${label}`];
    mark.append(name);
    const before = characters.slice(done, start).join("");
    done = end;
    return [before, mark];
  });
  return [...parts, characters.slice(done).join("")];
}

/** @param {() => Promise<import("./processing/image.js").Picture[]>} pair */
function askFlow(pair) {
  const read = async () => ({ frames: await pair() });
  return answer("flow", "flow", read, ({ flow }, { frames }) => showFlow(byId("flow-colors"), byId("flow-frame"), frames[0], flow));
}

byId("flow").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  askFlow(async () => {
    const files = [byId("flow").frame1.files[0], byId("flow").frame2.files[0]];
    if (files.some((file) => !file)) throw new Error("choose two frames of one size, or use the samples");
    return Promise.all(files.map(readPicture));
  });
});

byId("flow-sample").addEventListener("click", () =>
  askFlow(() => Promise.all(["frame1", "frame2"].map(async (name) => readPicture(await (await fetch(`samples/${name}.png`)).blob())))));

byId("flow-camera").addEventListener("click", async () => {
  if (camera.isOn) return camera.stop();
  const button = byId("flow-camera");
  const newest = async () => {
    if (!camera.isOn) await camera.start();
    button.setAttribute("aria-pressed", "true");
    return camera.pair();
  };
  let going = await askFlow(newest);
  while (going && camera.isOn) going = await askFlow(newest);
  camera.stop();
  button.setAttribute("aria-pressed", "false");
});

byId("digit").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const file = byId("digit").picture.files[0];
  const read = async () => ({ picture: file ? await readPicture(file) : fromRgba(pad.pixels()) });
  answer("digit", "image-classification", read, ({ labels }) => {
    byId("digit-answer").textContent = inWords(labels.slice(0, 2));
  });
});

byId("digit-pad").addEventListener("pointerdown", () => {
  byId("digit").picture.value = ""; // what is drawn last is what is read
});

byId("digit-clear").addEventListener("click", () => {
  pad.clear();
  byId("digit").picture.value = "";
  byId("digit-answer").textContent = "";
});

byId("text").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  answer("text", "fill-mask", async () => ({ text: byId("text").text.value }), ({ filled }) => {
    byId("text-answer").textContent = filled;
  });
});

byId("fields").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  const read = async () => ({ text: byId("fields").text.value });
  answer("fields", "token-classification", read, ({ spans }, { text }) => byId("fields-answer").replaceChildren(...marked(text, spans)));
});

/** @param {() => Promise<Blob>} file */
function askSound(file) {
  const read = async () => ({ samples: await readSound(await file(), RATE), rate: RATE });
  return answer("sound", "audio-classification", read, ({ windows }) => { byId("sound-answer").textContent = inWords(windows); });
}

byId("sound").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
  event.preventDefault();
  askSound(async () => {
    const file = byId("sound").file.files[0];
    if (!file) throw new Error("choose a sound, use the sample, or record one");
    return file;
  });
});

byId("sound-sample").addEventListener("click", () => askSound(async () => (await fetch("samples/sound.wav")).blob()));

byId("sound-record").addEventListener("click", () => askSound(() => record(2)));
