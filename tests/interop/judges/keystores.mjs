// @chainsafe/bls-keystore opens every keystore; the key inside is the lock's public share of that operator. Keystores of our own
// ceremonies have a UUID of version 4 (RFC 4122) each, as EIP-2335 wants; other software may take 16 random bytes as they are.

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

const UUID_4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;

async function judge(folder, keystore) {
  const parsed = JSON.parse(keystore.text);
  validateKeystore(parsed);
  if (lockOf(folder).cluster_definition.dkg_algorithm === "gjkr") {
    must(UUID_4.test(parsed.uuid), `${parsed.uuid} is no UUID of version 4`);
  }
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
