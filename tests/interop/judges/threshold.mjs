// Shares recombine to the distributed key and to the very signatures in the lock: any t of them, and never t - 1.
// BLS signatures are unique, so a recombined signature can be compared byte for byte.

import { bytes, must, mustEqual } from "../lib/bytes.mjs";
import { keystoresOf, lockOf, secretOf } from "../lib/folders.mjs";
import { networkOf } from "../lib/networks.mjs";
import { operatorIndex } from "../lib/operators.mjs";
import { depositRoots, registrationSigningRoot, withdrawalCredentials } from "../lib/signing.mjs";
import { minorVersion } from "../lib/containers.mjs";

const DEFAULT_GAS_LIMIT = 30_000_000;
const MOST_SUBSETS = 6;

export function thresholdJudges(backend) {
  return [
    {
      name: `lock signatures / ${backend.name}`,
      subjects: (cluster, context) =>
        cluster.folders.map((folder) => ({
          file: `${folder.name}/cluster-lock.json`,
          key: folder.files.get("cluster-lock.json"),
          check: () => judgeLock(backend, lockOf(folder), context),
        })),
    },
    {
      name: `signing together / ${backend.name}`,
      subjects: (cluster, context) => [
        {
          file: `${cluster.name} (${cluster.folders.length} operators)`,
          check: () => judgeShares(backend, cluster, context),
        },
      ],
    },
  ];
}

/** Everything that the lock alone shows. */
function judgeLock(backend, lock, context) {
  const definition = lock.cluster_definition;
  const network = networkOf(definition, context.networks);
  mustEqual(lock.distributed_validators.length, definition.num_validators, "number of validators");

  lock.distributed_validators.forEach((validator, index) => {
    const key = bytes(validator.distributed_public_key);
    const shares = validator.public_shares.map(bytes);
    mustEqual(shares.length, definition.operators.length, "number of public shares");
    mustRecombine(
      (subset) =>
        backend.keysRecombine(
          subset.map((i) => shares[i - 1]),
          subset,
          key,
        ),
      indicesUpTo(shares.length),
      definition.threshold,
      `public shares of validator ${index}`,
    );

    const amounts = validator.partial_deposit_data.map((deposit) => Number(deposit.amount));
    mustEqual(amounts.join(), expectedAmounts(definition).join(), "deposit amounts");
    for (const deposit of validator.partial_deposit_data) {
      mustEqual(deposit.pubkey, validator.distributed_public_key, "deposit's public key");
      mustEqual(
        deposit.withdrawal_credentials,
        withdrawalCredentials(definition, index),
        "withdrawal_credentials",
      );
      const root = depositRoots(deposit, definition.fork_version).signingRoot;
      must(backend.verify(key, root, bytes(deposit.signature)), "deposit signature is not valid");
    }

    const { message, signature } = validator.builder_registration;
    mustEqual(message.pubkey, validator.distributed_public_key, "registration's public key");
    mustEqual(
      message.fee_recipient.toLowerCase(),
      definition.validators[index].fee_recipient_address.toLowerCase(),
      "fee recipient",
    );
    mustEqual(message.gas_limit, definition.target_gas_limit || DEFAULT_GAS_LIMIT, "gas limit");
    // Other software may take the time of the making; what counts is the signature over it. A ceremony of ours takes genesis.
    if (definition.dkg_algorithm === "gjkr") {
      mustEqual(message.timestamp, network.genesisTime, "registration's timestamp");
    }
    const root = registrationSigningRoot(message, definition.fork_version);
    must(backend.verify(key, root, bytes(signature)), "builder registration's signature is not valid");
  });

  const everyShare = lock.distributed_validators.flatMap((validator) => validator.public_shares.map(bytes));
  must(
    backend.fastAggregateVerify(everyShare, bytes(lock.lock_hash), bytes(lock.signature_aggregate)),
    "signature_aggregate is not valid",
  );
}

/** What the secret shares of at least t operators show. */
async function judgeShares(backend, cluster, context) {
  const lock = lockOf(cluster.folders[0]);
  const definition = lock.cluster_definition;
  networkOf(definition, context.networks);
  const { threshold } = definition;
  must(cluster.folders.length >= threshold, `needs the folders of at least ${threshold} operators`);
  const operators = cluster.folders.map((folder) => ({
    index: operatorIndex(folder) + 1,
    keystores: keystoresOf(folder),
  }));

  for (const [v, validator] of lock.distributed_validators.entries()) {
    const secrets = new Map();
    for (const { index, keystores } of operators) {
      const keystore = keystores.find((candidate) => candidate.index === v);
      must(keystore !== undefined, `operator ${index} has no keystore for validator ${v}`);
      secrets.set(index, await secretOf(keystore));
    }
    const signed = [
      [
        depositRoots(validator.partial_deposit_data[0], definition.fork_version).signingRoot,
        validator.partial_deposit_data[0].signature,
      ],
      [
        registrationSigningRoot(validator.builder_registration.message, definition.fork_version),
        validator.builder_registration.signature,
      ],
    ];
    for (const [root, signature] of signed) {
      const partials = new Map([...secrets].map(([index, secret]) => [index, backend.sign(secret, root)]));
      for (const [index, partial] of partials) {
        must(
          backend.verify(bytes(validator.public_shares[index - 1]), root, partial),
          `share of operator ${index}, validator ${v}`,
        );
      }
      mustRecombine(
        (subset) =>
          backend.signaturesRecombine(
            subset.map((i) => partials.get(i)),
            subset,
            bytes(signature),
          ),
        [...partials.keys()],
        threshold,
        `signatures of validator ${v}`,
      );
    }
  }
}

function mustRecombine(recombines, indices, threshold, what) {
  must(threshold >= 2 && threshold <= indices.length, `${what}: threshold ${threshold} of ${indices.length}`);
  for (const subset of someSubsets(indices, threshold)) {
    must(recombines(subset), `${what}: operators ${subset} do not recombine to the whole`);
  }
  for (const subset of someSubsets(indices, threshold - 1)) {
    must(!recombines(subset), `${what}: ${subset.length} operators (${subset}) are enough, below the threshold`);
  }
}

const indicesUpTo = (n) => Array.from({ length: n }, (_, i) => i + 1);

/** At most MOST_SUBSETS subsets of `size`, evenly spread over all of them, first and last included. */
function someSubsets(items, size) {
  const all = [];
  const extend = (chosen, from) => {
    if (chosen.length === size) return void all.push(chosen);
    for (let i = from; i <= items.length - (size - chosen.length); i++) extend([...chosen, items[i]], i + 1);
  };
  extend([], 0);
  if (all.length <= MOST_SUBSETS) return all;
  const step = (all.length - 1) / (MOST_SUBSETS - 1);
  return Array.from({ length: MOST_SUBSETS }, (_, i) => all[Math.round(i * step)]);
}

function expectedAmounts(definition) {
  const ether = (amounts) => amounts.map((amount) => amount * 1e9);
  const listed = (definition.deposit_amounts ?? []).map(Number);
  if (listed.length > 0) return [...new Set(listed)].sort((a, b) => a - b);
  return minorVersion(definition) >= 10 && definition.compounding ? ether([1, 8, 32, 256]) : ether([1, 32]);
}
