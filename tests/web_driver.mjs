// Drives the page in Chromium. Arguments: playwright-core's folder, chromium, the page's address, samples, a folder for pictures.
// Prints JSON: the answer to each question, and how the page refused a damaged bundle.
import { createRequire } from "node:module";
import { join } from "node:path";

const [library, executablePath, address, samples, pictures] = process.argv.slice(2);
const { chromium } = createRequire(import.meta.url)(library);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] });

async function open(options = {}) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(address);
  return page;
}

async function answer(page, act) {
  const waiting = page.evaluate(() => new Promise((resolve) => {
    const plain = (value) => (ArrayBuffer.isView(value) ? [...value] : value);
    document.addEventListener("answer", ({ detail }) =>
      resolve(JSON.stringify(detail, (_, value) => plain(value))), { once: true });
  }));
  await act();
  return JSON.parse(await waiting);
}

const submit = (page, form) => page.click(`#${form} button[type=submit]`);
const shot = (page, name, fullPage) => page.screenshot({ path: join(pictures, `web-${name}.jpg`), type: "jpeg", quality: 80, fullPage });
const page = await open({ viewport: { width: 1000, height: 900 } });
const found = { isolated: await page.evaluate(() => crossOriginIsolated) };
await page.setInputFiles("[name=frame1]", join(samples, "frame1.png"));
await page.setInputFiles("[name=frame2]", join(samples, "frame2.png"));
found.flow = await answer(page, () => submit(page, "flow"));
await page.setInputFiles("[name=picture]", join(samples, "three.png"));
found.digit = await answer(page, () => submit(page, "digit"));
found.text = await answer(page, () => submit(page, "text"));
found.fields = await answer(page, () => submit(page, "fields"));
found.marked = await page.innerText("#fields-answer");
found.sound = await answer(page, () => page.click("#sound-sample"));
found.spoken = await page.innerText("#sound-answer");
await shot(page, "desktop", true);

const dark = await open({ viewport: { width: 390, height: 844 }, colorScheme: "dark", hasTouch: true });
const box = await dark.locator("#digit-pad").boundingBox();
await dark.locator("#digit-pad").scrollIntoViewIfNeeded();
const place = (await dark.locator("#digit-pad").boundingBox()) ?? box;
await dark.mouse.move(place.x + 112, place.y + 30);
await dark.mouse.down();
await dark.mouse.move(place.x + 112, place.y + 190, { steps: 10 });
await dark.mouse.up();
found.drawn = await answer(dark, () => submit(dark, "digit"));
found.overflow = await dark.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await shot(dark, "phone-dark", false);

const filmed = await open();
found.camera = [await answer(filmed, () => filmed.click("#flow-camera"))];
for (let count = 0; count < 2; count++) found.camera.push(await answer(filmed, () => {}));
await answer(filmed, () => filmed.click("#flow-camera"));
found.cameraPressed = await filmed.getAttribute("#flow-camera", "aria-pressed", { timeout: 5000 });
found.recorded = await answer(filmed, () => filmed.click("#sound-record"));
await filmed.setInputFiles("#sound [name=file]", join(samples, "three.png"));
found.noSound = await answer(filmed, () => submit(filmed, "sound"));
await filmed.evaluate(() => {
  navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException("Permission denied", "NotAllowedError"));
});
found.noMicrophone = await answer(filmed, () => filmed.click("#sound-record"));
found.noCamera = await answer(filmed, () => filmed.click("#flow-camera"));

const damaged = await open();
await damaged.context().route("**/bundles/fill-mask/weights.safetensors", async (route) => {
  const response = await route.fetch();
  const body = await response.body();
  body[body.length >> 1] ^= 1;
  await route.fulfill({ response, body });
});
found.damaged = await answer(damaged, () => submit(damaged, "text"));
found.cached = await damaged.evaluate(async () => (await (await caches.open("perceiver-bundles")).keys()).map(({ url }) => url));

const wrong = await open();
await wrong.context().route("**/js/tasks/fill_mask.js", async (route) => {
  const response = await route.fetch();
  const body = (await response.text()).replace("{ logits: await maskLogits(model, ids, places) }",
    "{ logits: (await maskLogits(model, ids, places)).map((value, index) => value + (index === 5 ? 0.1 : 0)) }");
  await route.fulfill({ response, body });
});
await wrong.reload(); // the worker may have its modules already
found.wrong = await answer(wrong, () => submit(wrong, "text"));
await open().then(async (other) => {
  await other.fill("#fields textarea", process.env.FIELDS_TEXT);
  found.fieldsOther = await answer(other, () => submit(other, "fields"));
});
await browser.close();
console.log(JSON.stringify(found));
