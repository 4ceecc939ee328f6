/** The camera's newest frames, made small: one tile of the flow bundle, so that an answer takes a fraction of a second. */
import { fromRgba } from "./pictures.js";

const [WIDTH, HEIGHT] = [128, 96];
const GAP = 80; // milliseconds between the frames of a pair: two or three frames of a camera

export class Camera {
  #video = document.createElement("video");
  /** @type {MediaStream | null} */
  #stream = null;

  get isOn() {
    return this.#stream !== null;
  }

  /** Ask for the camera. Throws in words for people where there is none, or it is not allowed. */
  async start() {
    if (!navigator.mediaDevices) throw new Error("the camera needs https, or localhost: open the page there");
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 }, height: { ideal: 480 } } });
    } catch (error) {
      throw new Error(`the camera cannot be used: ${error instanceof Error ? error.message : error}`);
    }
    Object.assign(this.#video, { srcObject: this.#stream, muted: true, playsInline: true });
    await this.#video.play();
  }

  stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    [this.#stream, this.#video.srcObject] = [null, null];
  }

  /** Two frames, one shortly after the other, cut to 4:3. */
  async pair() {
    const first = this.#frame();
    await new Promise((resolve) => setTimeout(resolve, GAP));
    return [first, this.#frame()];
  }

  #frame() {
    const { videoWidth, videoHeight } = this.#video;
    const scale = Math.min(videoWidth / WIDTH, videoHeight / HEIGHT);
    const [width, height] = [WIDTH * scale, HEIGHT * scale];
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d"));
    context.drawImage(this.#video, (videoWidth - width) / 2, (videoHeight - height) / 2, width, height, 0, 0, WIDTH, HEIGHT);
    return fromRgba(context.getImageData(0, 0, WIDTH, HEIGHT));
  }
}
