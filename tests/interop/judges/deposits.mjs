// @lodestar/types recomputes the roots of every deposit file, @chainsafe/blst checks the signatures.

import { PublicKey, Signature, verify } from "@chainsafe/blst";
import { hex, must, mustEqual } from "../lib/bytes.mjs";
import { lockOf } from "../lib/folders.mjs";
import { networkOf } from "../lib/networks.mjs";
import { depositRoots, withdrawalCredentials } from "../lib/signing.mjs";

export const name = "deposits / @lodestar/types";

export function subjects(cluster, context) {
  return cluster.folders.flatMap((folder) =>
    [...folder.files.keys()]
      .filter((file) => /^deposit-data.*\.json$/.test(file))
      .map((file) => {
        const text = folder.files.get(file);
        return {
          file: `${folder.name}/${file}`,
          key: file + text + folder.files.get("cluster-lock.json"),
          check: () => judge(file, JSON.parse(text), lockOf(folder), context),
        };
      }),
  );
}

function judge(file, entries, lock, context) {
  const definition = lock.cluster_definition;
  const network = networkOf(definition, context.networks);
  const keys = entries.map((entry) => entry.pubkey);
  mustEqual(keys.join(), [...keys].sort().join(), "order by public key");
  const group = lock.distributed_validators.map((v) => v.distributed_public_key.slice(2)).sort();
  mustEqual(keys.join(), group.join(), "one deposit for each validator of the lock");
  for (const entry of entries) judgeEntry(entry, file, lock, network);
}

function judgeEntry(entry, file, lock, network) {
  const definition = lock.cluster_definition;
  const index = lock.distributed_validators.findIndex((v) => v.distributed_public_key === "0x" + entry.pubkey);
  const validator = lock.distributed_validators[index];

  mustEqual(entry.network_name, network.name, "network_name");
  mustEqual("0x" + entry.fork_version, definition.fork_version, "fork_version");
  mustEqual(
    "0x" + entry.withdrawal_credentials,
    withdrawalCredentials(definition, index),
    "withdrawal_credentials",
  );
  must(Number.isInteger(entry.amount), "amount is not a whole number of gwei");
  const ether = entry.amount / 1e9;
  mustEqual(
    file,
    ether === 32 ? "deposit-data.json" : `deposit-data-${ether}eth.json`,
    "file name for this amount",
  );

  const roots = depositRoots(entry, definition.fork_version);
  mustEqual("0x" + entry.deposit_message_root, hex(roots.messageRoot), "deposit_message_root");
  mustEqual("0x" + entry.deposit_data_root, hex(roots.dataRoot), "deposit_data_root");
  const valid = verify(
    roots.signingRoot,
    PublicKey.fromHex(entry.pubkey),
    Signature.fromHex(entry.signature),
    true,
    true,
  );
  must(valid, "deposit signature is not valid under the distributed key");

  const locked = validator.partial_deposit_data.find((deposit) => Number(deposit.amount) === entry.amount);
  must(locked !== undefined, "the lock has no deposit of this amount");
  mustEqual("0x" + entry.signature, locked.signature, "signature against the lock");
}
