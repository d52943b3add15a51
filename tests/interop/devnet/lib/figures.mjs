// Tables and times, for people.

/** Lines of equal columns; numbers to the right. */
export function table(head, rows) {
  const cells = [head, ...rows].map((row) => row.map(String));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const right = head.map(
    (_, column) => rows.length > 0 && rows.every((row) => /^[-\d./%]*$/.test(String(row[column]))),
  );
  const line = (row) =>
    row
      .map((cell, column) => (right[column] ? cell.padStart(widths[column]) : cell.padEnd(widths[column])))
      .join("  ")
      .trimEnd();
  return [line(cells[0]), widths.map((width) => "-".repeat(width)).join("  "), ...cells.slice(1).map(line)].join("\n");
}

/** How often, middle, nine of ten, most. */
export function spread(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (part) =>
    sorted.length ? Math.round(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]) : "-";
  return [sorted.length, at(0.5), at(0.9), sorted.length ? Math.round(sorted.at(-1)) : "-"];
}

/**
 * From the moment that the beacon node of a slot's leader has answered what to attest to, until the first operator gives
 * its beacon node the group's attestations: ms, one for each slot in which both happened. `leader` names it by its place.
 */
export function groupTimes(operators, clock, leader) {
  const given = operators.flatMap(({ proxy }) => proxy.given).sort((a, b) => a - b);
  return given.flatMap((at, i) => {
    const slot = Math.floor((at - clock.genesis) / clock.slotMs);
    if (i > 0 && Math.floor((given[i - 1] - clock.genesis) / clock.slotMs) === slot) return [];
    const told = operators[leader(slot)].proxy.told.get(slot);
    return told === undefined || told > at ? [] : [at - told];
  });
}

/**
 * The same by the leader's own clock, without the way to its beacon node: from the answer to the group's signatures, where the
 * first round decided.
 */
export function leaderTimes(operators, leader) {
  const own = /^slot (\d+): attestation of \d+ validators?: agreed in (\d+) ms, signed in (\d+) ms/;
  return operators.flatMap(({ lines }, place) =>
    lines.flatMap(({ text }) => {
      const [, slot, agreed, signed] = own.exec(text) ?? [];
      return slot && leader(Number(slot)) === place ? [Number(agreed) + Number(signed)] : [];
    }),
  );
}

/** When attestations were signed, from the operators' own lines: by the place of the slot's leader, ms after they were due. */
export function timesByLeader(operators, leader, from) {
  const times = operators.map(() => []);
  for (const { lines } of operators)
    for (const { text } of lines) {
      const [, slot, late = 0] =
        /^slot (\d+): attestation of .*signed in \d+ ms(?: \((\d+) ms after)?/.exec(text) ?? [];
      if (slot && Number(slot) >= from) times[leader(Number(slot))].push(Number(late));
    }
  return times;
}

/** Times from the operators' own lines: `{ what: [ms it took] }`. */
export function ownTimes(operators) {
  const times = {};
  for (const { lines } of operators)
    for (const { text } of lines) {
      const duty =
        /^slot \d+: (.+?) of \d+ validators?: (?:agreed in (\d+) ms(?: in round \d+)?, )?signed in (\d+) ms/;
      const [, what, agreed, signed] = duty.exec(text) ?? [];
      if (agreed) (times[`${what} agreed`] ??= []).push(Number(agreed));
      if (signed) (times[`${what} signed`] ??= []).push(Number(signed));
    }
  return times;
}
