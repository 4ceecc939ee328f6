/** Text to token ids and back: UTF-8 bytes after six special tokens, as the Python runtime's tokenizer. */

export const MASK = 3;
export const FIRST_BYTE = 6;
const NAMES = ["[PAD]", "[BOS]", "[EOS]", "[MASK]", "[CLS]", "[SEP]"];
const [CLS, SEP] = [4, 5];
const MAX_MASKS = 1 << 16;

/**
 * `[CLS] text [SEP]` as ids. Throws for a text that is empty, or longer than `maxLength` tokens.
 * @param {string} text `[MASK]` is one masked byte, `[MASK*9]` nine
 * @param {number} maxLength
 * @param {{plain?: boolean}} options plain: `[MASK]` is six characters
 * @returns {number[]}
 */
export function encodeText(text, maxLength, { plain = false } = {}) {
  const written = plain ? text : text.replace(/\[MASK\*(\d+)\]/g, (match, digits) => {
    const count = Number(digits);
    if (count < 1 || count > MAX_MASKS) throw new Error(`${match} asks for ${digits} masks: give 1 to ${MAX_MASKS}`);
    return "[MASK]".repeat(count);
  });
  const ids = [];
  for (const piece of plain ? [written] : written.split(/(\[(?:PAD|BOS|EOS|MASK|CLS|SEP)\])/)) {
    const special = plain ? -1 : NAMES.indexOf(piece);
    if (special >= 0) ids.push(special);
    else for (const byte of new TextEncoder().encode(piece)) ids.push(byte + FIRST_BYTE);
  }
  if (!ids.length) throw new Error("the text is empty: give at least one character");
  if (ids.length + 2 > maxLength) {
    throw new Error(`the text has ${ids.length} bytes, the model takes ${maxLength - 2}: shorten it`);
  }
  return [CLS, ...ids, SEP];
}

/**
 * Ids to text: special tokens are dropped, invalid UTF-8 becomes the replacement character.
 * @param {number[]} ids
 */
export function decodeText(ids) {
  const bytes = ids.filter((id) => id >= FIRST_BYTE).map((id) => id - FIRST_BYTE);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(new Uint8Array(bytes));
}
