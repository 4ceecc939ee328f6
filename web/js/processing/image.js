/** Pictures to an image model's input: centre crop, Pillow's bicubic resize, rescale, normalise. */

/** @typedef {{data: Uint8Array | Uint8ClampedArray, height: number, width: number}} Picture RGB, (height, width, 3) row by row */

const FIXED_POINT = 1 << 22; // Pillow's weights for bytes are whole multiples of 1 / this
const BICUBIC = 3; // Pillow's number

/** @param {number} place */
function bicubic(place) {
  const far = Math.abs(place);
  if (far < 1) return (1.5 * far - 2.5) * far ** 2 + 1;
  return far < 2 ? ((-0.5 * far + 2.5) * far - 4) * far + 2 : 0;
}

/**
 * For each target pixel the first source pixel and the weights from there on.
 * @param {number} source
 * @param {number} target
 */
function weights(source, target) {
  const scale = source / target;
  const reach = 2 * Math.max(scale, 1);
  return Array.from({ length: target }, (_, index) => {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const last = Math.min(source, Math.trunc(center + reach + 0.5));
    const kernel = [];
    for (let pixel = first; pixel < last; pixel++) kernel.push(bicubic((pixel - center + 0.5) / Math.max(scale, 1)));
    const sum = kernel.reduce((a, b) => a + b, 0);
    return { first, kernel: kernel.map((value) => Math.round((value / sum) * FIXED_POINT)) };
  });
}

/**
 * Resize one axis.
 * @param {Picture} picture
 * @param {number} size
 * @param {boolean} vertical
 * @returns {Picture}
 */
function resizeAxis(picture, size, vertical) {
  const { data, height, width } = picture;
  if (size === (vertical ? height : width)) return picture;
  const [rows, columns] = vertical ? [size, width] : [height, size];
  const result = new Uint8Array(rows * columns * 3);
  const all = weights(vertical ? height : width, size);
  const step = vertical ? width * 3 : 3;
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      const { first, kernel } = all[vertical ? y : x];
      const start = vertical ? (first * width + x) * 3 : (y * width + first) * 3;
      for (let channel = 0; channel < 3; channel++) {
        let sum = 0;
        for (let tap = 0; tap < kernel.length; tap++) sum += kernel[tap] * data[start + tap * step + channel];
        result[(y * columns + x) * 3 + channel] = Math.min(255, Math.max(0, Math.floor(sum / FIXED_POINT + 0.5)));
      }
    }
  }
  return { data: result, height: rows, width: columns };
}

/**
 * Pillow 13's bicubic resize of bytes, rounded after each axis.
 * @param {Picture} picture
 * @param {number} height
 * @param {number} width
 */
export function resize(picture, height, width) {
  const [lessHeight, lessWidth] = [picture.height - height, picture.width - width];
  const heightFirst = lessHeight > 0 && lessHeight > 2 * lessWidth;
  if (heightFirst) return resizeAxis(resizeAxis(picture, height, true), width, false);
  return resizeAxis(resizeAxis(picture, width, false), height, true);
}

/**
 * A picture as the bundle's processor says: float32 (3, height, width). Throws for a processor this page does not know.
 * @param {Picture} picture
 * @param {{size: number[], crop: number[], mean: number[], std: number[], resize?: unknown, resample?: number}} processor
 */
export function modelPixels(picture, processor) {
  const { size, crop, mean, std } = processor;
  if (!crop || crop.some(Boolean) || mean.length !== 3 || "resize" in processor || (processor.resample ?? BICUBIC) !== BICUBIC) {
    throw new Error("this bundle's pictures are cropped or resized in a way this page does not know: use perceiver run");
  }
  const { data } = resize(picture, size[0], size[1]);
  const plane = size[0] * size[1];
  const result = new Float32Array(3 * plane);
  for (let channel = 0; channel < 3; channel++) {
    const [center, spread] = [Math.fround(mean[channel]), Math.fround(std[channel])];
    for (let pixel = 0; pixel < plane; pixel++) {
      const scaled = Math.fround(data[pixel * 3 + channel] * (1 / 255));
      result[channel * plane + pixel] = Math.fround(scaled - center) / spread;
    }
  }
  return result;
}
