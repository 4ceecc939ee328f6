/** Sounds of the page: files and the microphone to samples of one channel. */

/**
 * A sound's samples at `rate` Hz, the mean of its channels. The browser decodes and resamples.
 * @param {Blob} file
 * @param {number} rate
 */
export async function readSound(file, rate) {
  const context = new OfflineAudioContext(1, 1, rate);
  const sound = await context.decodeAudioData(await file.arrayBuffer()).catch(() => {
    throw new Error("this file is no sound that the browser reads: give WAV, MP3 or Ogg");
  });
  const channels = Array.from({ length: sound.numberOfChannels }, (_, place) => sound.getChannelData(place));
  return channels[0].map((_, place) => channels.reduce((sum, channel) => sum + channel[place], 0) / channels.length);
}

/**
 * What the microphone hears for a while. Throws in words for people where there is none, or it is not allowed.
 * @param {number} seconds
 * @returns {Promise<Blob>}
 */
export async function record(seconds) {
  if (!navigator.mediaDevices) throw new Error("the microphone needs https, or localhost: open the page there");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true }).catch((error) => {
    throw new Error(`the microphone cannot be used: ${error.message}`);
  });
  const [recorder, parts] = [new MediaRecorder(stream), /** @type {Blob[]} */ ([])];
  const ended = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.start();
  setTimeout(() => recorder.stop(), 1000 * seconds);
  await ended;
  for (const track of stream.getTracks()) track.stop();
  return new Blob(parts, { type: recorder.mimeType });
}
