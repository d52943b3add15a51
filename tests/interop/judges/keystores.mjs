// @chainsafe/bls-keystore opens every keystore; the key inside is the lock's public share of that operator.

import { validateKeystore } from "@chainsafe/bls-keystore";
import { SecretKey } from "@chainsafe/blst";
import { hex, must, mustEqual } from "../lib/bytes.mjs";
import { keystoresOf, lockOf, secretOf } from "../lib/folders.mjs";
import { operatorIndex } from "../lib/operators.mjs";

export const name = "keystore / @chainsafe/bls-keystore";

export function subjects(cluster) {
  return cluster.folders.flatMap((folder) =>
    keystoresOf(folder).map((keystore) => ({
      file: `${folder.name}/${keystore.name}`,
      check: () => judge(folder, keystore),
    })),
  );
}

async function judge(folder, keystore) {
  const parsed = JSON.parse(keystore.text);
  validateKeystore(parsed);
  const validator = lockOf(folder).distributed_validators[keystore.index];
  must(validator !== undefined, "the lock has no such validator");
  const share = validator.public_shares[operatorIndex(folder)];
  mustEqual("0x" + parsed.pubkey, share, "pubkey field against the lock's share");
  const secret = await secretOf(keystore);
  mustEqual(
    hex(SecretKey.fromBytes(secret).toPublicKey().toBytes()),
    share,
    "key inside against the lock's share",
  );
}
