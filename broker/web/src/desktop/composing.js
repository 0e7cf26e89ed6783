/** What was typed, told from what a text field held before and holds now. */

/**
 * How to make `after` of `before` at its end: so many characters back, then the new text.
 * Characters, not code units: an emoji is one step back.
 */
export function difference(before, after) {
  const old = [...before];
  const fresh = [...after];
  let same = 0;
  while (same < old.length && same < fresh.length && old[same] === fresh[same]) same += 1;
  return { back: old.length - same, text: fresh.slice(same).join("") };
}
