// Where two texts differ, word by word: differences(a, b) → [parts of a, parts of b], a part being [text, differs].

const MOST_CELLS = 4e6; // beyond this, all between the common start and end counts as different

function words(text) {
  return text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
}

function differences(first, second) {
  const a = words(first), b = words(second);
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const [keptA, keptB] = common(a.slice(start, a.length - end), b.slice(start, b.length - end));
  const edge = (length) => Array(length).fill(true);
  return [[a, keptA], [b, keptB]].map(([all, kept]) => joined(all, [...edge(start), ...kept, ...edge(end)]));
}

// Which words of each text belong to their longest common subsequence.
function common(a, b) {
  const keptA = Array(a.length).fill(false), keptB = Array(b.length).fill(false);
  if (!a.length || !b.length || a.length * b.length > MOST_CELLS) return [keptA, keptB];
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width); // at most 2,000 words: a text is cut at 2,000 characters
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] = a[i] === b[j]
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  for (let i = 0, j = 0; i < a.length && j < b.length;) {
    if (a[i] === b[j]) keptA[i++] = keptB[j++] = true;
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return [keptA, keptB];
}

// Neighbours of one kind as one part; space between two different words differs with them.
function joined(all, kept) {
  const same = kept.map((keep, i) => keep && !(/^\s+$/.test(all[i]) && kept[i - 1] === false && kept[i + 1] === false));
  const parts = [];
  all.forEach((word, i) => {
    const last = parts[parts.length - 1];
    if (last && last[1] === !same[i]) last[0] += word;
    else parts.push([word, !same[i]]);
  });
  return parts;
}
