// Hex as it stands in the files, with or without 0x, into bytes and back.

export function bytes(hex) {
  const digits = hex.startsWith("0x") ? hex.slice(2) : hex;
  if (digits.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(digits)) throw new Error(`not hex: ${hex}`);
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

export const hex = (raw) => "0x" + Buffer.from(raw).toString("hex");

export const equal = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0;

/** Throws unless `actual` is `expected`; `what` names the thing in the message. */
export function mustEqual(actual, expected, what) {
  if (actual !== expected) throw new Error(`${what}: found ${actual}, expected ${expected}`);
}

export function must(condition, why) {
  if (!condition) throw new Error(why);
}
