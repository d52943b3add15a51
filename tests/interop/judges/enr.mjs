// @chainsafe/enr reads every operator's ENR; the identity file writes the same record again.
// Version 4.0.1: 5.0.0 fails on sequence number 0, which RLP writes as the empty string.

import { ENR, SignableENR } from "@chainsafe/enr";
import { bytes, must, mustEqual } from "../lib/bytes.mjs";
import { lockOf } from "../lib/folders.mjs";
import { IDENTITY, identityOf, operatorIndex } from "../lib/operators.mjs";

export const name = "ENR / @chainsafe/enr";

export function subjects(cluster) {
  return cluster.folders.flatMap((folder) => [
    {
      file: `${folder.name}/cluster-lock.json`,
      key: folder.files.get("cluster-lock.json"),
      check: () => lockOf(folder).cluster_definition.operators.forEach((operator) => judgeRecord(operator.enr)),
    },
    { file: `${folder.name}/${IDENTITY}`, check: () => judgeIdentity(folder) },
  ]);
}

function judgeRecord(text) {
  const record = ENR.decodeTxt(text); // checks the signature
  mustEqual(record.encodeTxt(), text, "ENR written again");
  mustEqual(record.seq, 0n, "sequence number");
  mustEqual([...record.kvs.keys()].join(), "id,secp256k1", "pairs");
}

/** Signatures are deterministic (RFC 6979), so the same key gives the same record. */
function judgeIdentity(folder) {
  const { enr } = lockOf(folder).cluster_definition.operators[operatorIndex(folder)];
  const id = new TextEncoder().encode("v4");
  const secret = bytes(identityOf(folder));
  const secp256k1 = ENR.decodeTxt(enr).kvs.get("secp256k1");
  must(secp256k1 !== undefined, "no secp256k1 key");
  const own = new SignableENR({ id, secp256k1 }, 0n, secret);
  mustEqual(own.encodeTxt(), enr, "ENR made from the identity");
}
