/** Probabilities of bytes to labelled spans of a text, as the Python runtime's `simple` and `viterbi`. */

/** @typedef {{label: string, text: string, start: number, end: number, score: number}} Span in characters (code points) */
/** @typedef {{label: string, begins: boolean, ends: boolean}} Tag */

/** @type {Record<string, [string, string, string]>} prefixes that begin a span, that end one, that go on */
const SCHEMES = { plain: ["", "", ""], iob2: ["B", "", "I"], bioes: ["BS", "ES", "I"], bilou: ["BU", "LU", "I"] };
const CHANGE = 2; // what a change of label costs, in nats

/**
 * What a label's name says.
 * @param {string} name
 * @param {string} scheme
 * @returns {Tag}
 */
function tagOf(name, scheme) {
  const [begins, ends, inside] = SCHEMES[scheme];
  const [prefix, label] = [name[0], name.slice(2)];
  if (name[1] !== "-" || !(begins + ends + inside).includes(prefix)) return { label: name, begins: false, ends: false };
  return { label, begins: begins.includes(prefix), ends: ends.includes(prefix) };
}

/**
 * The tag before goes on in the one after.
 * @param {Tag} before
 * @param {Tag} after
 */
const goesOn = (before, after) => before.label === after.label && !after.begins && !before.ends;

/**
 * Where the largest value is, the first of equal ones.
 * @param {number[] | Float32Array} values
 */
function largest(values) {
  let top = 0;
  for (let place = 1; place < values.length; place++) if (values[place] > values[top]) top = place;
  return top;
}

/**
 * The labels that are likeliest together (Viterbi 1967), where each change of label has a cost.
 * @param {Float32Array[]} rows probabilities of each character
 * @param {Tag[]} tags
 */
function viterbi(rows, tags) {
  const scores = rows.map((row) => Array.from(row, (value) => Math.log(Math.max(value, 1e-9))));
  let best = scores[0];
  const cameFrom = [];
  for (const row of scores.slice(1)) {
    const from = tags.map((after) => largest(best.map((value, before) => value - (goesOn(tags[before], after) ? 0 : CHANGE))));
    best = row.map((value, after) => value + best[from[after]] - (goesOn(tags[from[after]], tags[after]) ? 0 : CHANGE));
    cameFrom.push(from);
  }
  const labels = [largest(best)];
  for (const from of cameFrom.reverse()) labels.push(from[labels[labels.length - 1]]);
  return labels.reverse();
}

/**
 * The spans of a text. Throws for a scheme or an aggregation that this page does not know.
 * @param {string} text
 * @param {Float32Array[]} bytes probabilities of each byte of its UTF-8
 * @param {string[]} names of the labels
 * @param {{scheme: string, outside: string | null, aggregation?: string}} answer
 * @returns {Span[]}
 */
export function labelledSpans(text, bytes, names, { scheme, outside, aggregation = "simple" }) {
  if (!(scheme in SCHEMES) || !["simple", "viterbi"].includes(aggregation)) {
    throw new Error(`this bundle's labels are ${scheme}, ${aggregation}, which this page does not know: use perceiver run`);
  }
  const characters = Array.from(text);
  let place = 0;
  const rows = characters.map((character) => {
    const first = bytes[place];
    place += new TextEncoder().encode(character).length;
    return first;
  });
  const tags = names.map((name) => tagOf(name, scheme));
  const labels = aggregation === "viterbi" ? viterbi(rows, tags) : rows.map(largest);
  /** @type {{start: number, label: number, scores: number[]}[]} */
  const groups = [];
  labels.forEach((label, start) => {
    const last = groups[groups.length - 1];
    if (last && goesOn(tags[labels[start - 1]], tags[label])) last.scores.push(rows[start][label]);
    else groups.push({ start, label, scores: [rows[start][label]] });
  });
  return groups.filter(({ label }) => names[label] !== outside).map(({ start, label, scores }) => {
    const end = start + scores.length;
    const score = scores.reduce((sum, value) => sum + value, 0) / scores.length;
    return { label: tags[label].label, text: characters.slice(start, end).join(""), start, end, score };
  });
}
