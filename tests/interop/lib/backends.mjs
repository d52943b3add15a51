// Two BLS libraries behind the few operations that the threshold judge needs.

import * as blst from "@chainsafe/blst";
import herumi from "bls-eth-wasm";
import { equal } from "./bytes.mjs";

await herumi.init(herumi.BLS12_381);
herumi.verifySignatureOrder(true);
herumi.verifyPublicKeyOrder(true);

const id = (index) => {
  const out = new herumi.Id();
  out.setInt(index);
  return out;
};

function fromBytes(Type, raw) {
  const out = new Type();
  out.deserialize(raw);
  return out;
}

/** herumi interpolates itself. */
export const herumiBackend = {
  name: "bls-eth-wasm",
  sign: (secret, message) => fromBytes(herumi.SecretKey, secret).sign(message).serialize(),
  publicKey: (secret) => fromBytes(herumi.SecretKey, secret).getPublicKey().serialize(),
  verify: (publicKey, message, signature) =>
    fromBytes(herumi.PublicKey, publicKey).verify(fromBytes(herumi.Signature, signature), message),
  fastAggregateVerify: (publicKeys, message, signature) =>
    fromBytes(herumi.Signature, signature).fastAggregateVerify(
      publicKeys.map((key) => fromBytes(herumi.PublicKey, key)),
      message,
    ),
  /** Do the points at these indices (from 1) interpolate to `whole` at zero? */
  keysRecombine: (points, indices, whole) => recovered(herumi.PublicKey, points, indices, whole),
  signaturesRecombine: (points, indices, whole) => recovered(herumi.Signature, points, indices, whole),
};

function recovered(Type, points, indices, whole) {
  const out = new Type();
  out.recover(
    points.map((point) => fromBytes(Type, point)),
    indices.map(id),
  );
  return equal(out.serialize(), whole);
}

/** @chainsafe/blst has no multiplication of points, but it adds: the Lagrange equation is checked in integers. */
export const blstBackend = {
  name: "@chainsafe/blst",
  sign: (secret, message) => blst.SecretKey.fromBytes(secret).sign(message).toBytes(),
  publicKey: (secret) => blst.SecretKey.fromBytes(secret).toPublicKey().toBytes(),
  verify: (publicKey, message, signature) =>
    blst.verify(message, blst.PublicKey.fromBytes(publicKey), blst.Signature.fromBytes(signature), true, true),
  fastAggregateVerify: (publicKeys, message, signature) =>
    blst.fastAggregateVerify(
      message,
      publicKeys.map((key) => blst.PublicKey.fromBytes(key, true)),
      blst.Signature.fromBytes(signature),
      true,
    ),
  keysRecombine: (points, indices, whole) =>
    balanced((raw) => blst.PublicKey.fromBytes(raw, true), blst.aggregatePublicKeys, points, indices, whole),
  signaturesRecombine: (points, indices, whole) =>
    balanced((raw) => blst.Signature.fromBytes(raw, true), blst.aggregateSignatures, points, indices, whole),
};

/**
 * Lagrange at zero: whole = sum of points[i] * prod_{j != i} x_j / (x_j - x_i). Times the product of all denominators
 * it is an equation in integers; terms with a negative factor move to the other side.
 */
function balanced(decode, add, points, indices, whole) {
  const xs = indices.map(BigInt);
  const fractions = xs.map((x, i) => {
    const others = xs.filter((_, j) => j !== i);
    return { over: others.reduce((p, o) => p * o, 1n), under: others.reduce((p, o) => p * (o - x), 1n) };
  });
  const common = fractions.reduce((l, { under }) => lcm(l, under < 0n ? -under : under), 1n);
  const left = [[whole, common]];
  const right = [];
  fractions.forEach(({ over, under }, i) => {
    const factor = (over * common) / under;
    if (factor < 0n) left.push([points[i], -factor]);
    else right.push([points[i], factor]);
  });
  const sum = (terms) => add(terms.map(([raw, factor]) => times(add, decode(raw), factor))).toBytes();
  return equal(sum(left), sum(right));
}

const gcd = (a, b) => (b === 0n ? a : gcd(b, a % b));
const lcm = (a, b) => (a / gcd(a, b)) * b;

/** factor * point by doubling and adding; factor is positive. */
function times(add, point, factor) {
  let out = null;
  for (const bit of factor.toString(2)) {
    if (out !== null) out = add([out, out]);
    if (bit === "1") out = out === null ? point : add([out, point]);
  }
  return out;
}
