/**
 * Logits to probabilities.
 * @param {Float32Array} logits
 * @returns {number[]}
 */
export function softmax(logits) {
  const largest = logits.reduce((top, value) => Math.max(top, value), -Infinity);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((value) => value / sum);
}
