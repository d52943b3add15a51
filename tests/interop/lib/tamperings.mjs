// What the self-test changes in accepted files, and the reason with which each judge must refuse it:
// `[what, tamper(cluster), reason, applies?(cluster, context)]`.

import { SigningKey, Wallet } from "ethers";
import { hex } from "./bytes.mjs";
import { configHash, definitionHash, lockHash } from "./containers.mjs";
import { depositRoots } from "./signing.mjs";

const LOCK = "cluster-lock.json";
const DEFINITION = "cluster-definition.json";
const IDENTITY = "charon-enr-private-key";

/** Changes the JSON file `name` in every folder of the cluster. */
const inJson = (name, change) => (cluster) => {
  for (const folder of cluster.folders) {
    const value = JSON.parse(folder.files.get(name));
    change(value);
    folder.files.set(name, JSON.stringify(value));
  }
};
const inLock = (change) => inJson(LOCK, change);
const inDeposits = (change) => (cluster) => {
  const name = [...cluster.folders[0].files.keys()].find((file) => file.startsWith("deposit-data"));
  inJson(name, change)(cluster);
};
const inKeystore = (change) => (cluster) => {
  const [folder] = cluster.folders;
  const name = [...folder.files.keys()].find((file) => /keystore-\d+\.json$/.test(file));
  const value = JSON.parse(folder.files.get(name));
  change(value, folder, name);
  folder.files.set(name, JSON.stringify(value));
};

/** Flips the lowest bit of the last byte. */
const flipped = (text) => text.slice(0, -1) + (parseInt(text.at(-1), 16) ^ 1).toString(16);

/** Makes the hashes fit again, so that only the judge of the changed thing can notice. */
function rehash(lock) {
  const definition = lock.cluster_definition;
  definition.config_hash = hex(configHash(definition));
  definition.definition_hash = hex(definitionHash(definition));
  lock.lock_hash = hex(lockHash(lock));
}

const swap = (list, a, b) => ([list[a], list[b]] = [list[b], list[a]]);
const signed = (cluster) =>
  JSON.parse(cluster.folders[0].files.get(LOCK)).cluster_definition.creator.address !== "";
const strong = (cluster) => ![...cluster.folders[0].files.keys()].some((file) => file.includes("insecure"));
const complete = (cluster, context) => context.complete;
const several = (cluster) => JSON.parse(cluster.folders[0].files.get(LOCK)).distributed_validators.length > 1;

const firstAmount = (lock) => lock.distributed_validators[0].partial_deposit_data[0];
const registration = (lock) => lock.distributed_validators[0].builder_registration;

const bls = (library) => [
  {
    judge: `lock signatures / ${library}`,
    tamperings: [
      [
        "two public shares swapped",
        inLock((l) => swap(l.distributed_validators[0].public_shares, 0, 1)),
        /do not recombine/,
      ],
      ["threshold one too high", inLock((l) => (l.cluster_definition.threshold += 1)), /below the threshold/],
      ["threshold one too low", inLock((l) => (l.cluster_definition.threshold -= 1)), /do not recombine/],
      [
        "deposit signature over another message",
        inLock((l) => (firstAmount(l).signature = registration(l).signature)),
        /deposit signature is not valid/,
      ],
      [
        "credentials of somebody else",
        inLock((l) => (firstAmount(l).withdrawal_credentials = flipped(firstAmount(l).withdrawal_credentials))),
        /withdrawal_credentials/,
      ],
      ["another amount", inLock((l) => (firstAmount(l).amount = "2000000000")), /deposit amounts/],
      [
        "registration's signature over another message",
        inLock((l) => (registration(l).signature = firstAmount(l).signature)),
        /registration's signature is not valid/,
      ],
      [
        "another fee recipient",
        inLock((l) => (registration(l).message.fee_recipient = "0x" + "33".repeat(20))),
        /fee recipient/,
      ],
      ["another gas limit", inLock((l) => (registration(l).message.gas_limit += 1)), /gas limit/],
      [
        "another timestamp",
        inLock((l) => (registration(l).message.timestamp += 1)),
        /registration's signature is not valid/,
      ],
      [
        "another timestamp, in a ceremony of ours",
        inLock((l) => {
          l.cluster_definition.dkg_algorithm = "gjkr";
          registration(l).message.timestamp += 1;
        }),
        /registration's timestamp/,
      ],
      [
        "aggregate over another message",
        inLock((l) => (l.signature_aggregate = firstAmount(l).signature)),
        /signature_aggregate/,
      ],
      [
        "lock hash changed under the aggregate",
        inLock((l) => (l.lock_hash = flipped(l.lock_hash))),
        /signature_aggregate/,
      ],
      [
        "unknown network",
        inLock((l) => (l.cluster_definition.fork_version = "0x77777777")),
        /unknown fork version/,
      ],
    ],
  },
  {
    judge: `signing together / ${library}`,
    tamperings: [
      ["two operators' keystores swapped", swapKeystores, /share of operator/],
      ["threshold one too high", inLock((l) => (l.cluster_definition.threshold += 1)), /below the threshold/],
      ["too few folders", (c) => c.folders.splice(1), /needs the folders/],
      [
        "deposit signature replaced",
        inLock((l) => (firstAmount(l).signature = registration(l).signature)),
        /do not recombine/,
      ],
    ],
  },
];

function swapKeystores(cluster) {
  const [a, b] = cluster.folders;
  for (const name of [...a.files.keys()].filter((file) => file.startsWith("validator_keys/"))) {
    const kept = a.files.get(name);
    a.files.set(name, b.files.get(name));
    b.files.set(name, kept);
  }
}

function foreignNodeSignature(lock) {
  const { r, s, yParity } = new SigningKey(Wallet.createRandom().privateKey).sign(lock.lock_hash);
  lock.node_signatures[0] = r + s.slice(2) + "0" + yParity;
}

function otherDepositSignature(entries) {
  entries[0].signature = entries[1].signature;
  const { dataRoot } = depositRoots(entries[0], "0x" + entries[0].fork_version);
  entries[0].deposit_data_root = hex(dataRoot).slice(2);
}

const depositTamperings = (names) =>
  [
    ["signature of another validator, data root made to fit", "signature", otherDepositSignature, several],
    ["signature damaged", "damaged", (e) => (e[0].signature = flipped(e[0].signature))],
    [
      "credentials of somebody else",
      "credentials",
      (e) => (e[0].withdrawal_credentials = flipped(e[0].withdrawal_credentials)),
    ],
    ["message root", "message", (e) => (e[0].deposit_message_root = flipped(e[0].deposit_message_root))],
    ["data root", "data", (e) => (e[0].deposit_data_root = flipped(e[0].deposit_data_root))],
    ["amount", "amount", (e) => (e[0].amount += 1)],
    ["fork version", "fork", (e) => (e[0].fork_version = "00000000")],
    ["network name", "network", (e) => (e[0].network_name = "mainnet")],
    ["public key", "key", (e) => (e[0].pubkey = flipped(e[0].pubkey))],
    ...("order" in names ? [["order", "order", (e) => e.reverse(), several]] : []),
    ...("missing" in names ? [["a deposit missing", "missing", (e) => e.pop()]] : []),
  ].map(([what, kind, change, applies]) => [what, inDeposits(change), names[kind], applies]);

export const cases = [
  {
    judge: "folder",
    tamperings: [
      [
        "a keystore missing",
        (c) =>
          c.folders[0].files.delete([...c.folders[0].files.keys()].find((f) => /keystore.*-0\.json$/.test(f))),
        /keystore numbers/,
      ],
      [
        "a deposit file missing",
        (c) => c.folders[0].files.delete([...c.folders[0].files.keys()].find((f) => f.startsWith("deposit"))),
        /deposit files/,
      ],
      [
        "one operator with another lock",
        (c) => c.folders[0].files.set(LOCK, c.folders[0].files.get(LOCK) + " "),
        /another cluster-lock/,
      ],
      [
        "one operator twice",
        (c) => c.folders[1].files.set(IDENTITY, c.folders[0].files.get(IDENTITY)),
        /different operators/,
      ],
      ["an operator's folder missing", (c) => c.folders.pop(), /number of operator folders/, complete],
      ["a definition missing", (c) => c.folders[0].files.delete(DEFINITION), /no cluster-definition/, complete],
      [
        "another definition than the lock's",
        inJson(DEFINITION, (d) => (d.threshold -= 1)),
        /differs from the definition/,
        complete,
      ],
      [
        "a weak keystore",
        (c) => c.folders[0].files.set("validator_keys/keystore-insecure-9.json", "{}"),
        /weak keystores/,
        complete,
      ],
    ],
  },
  {
    judge: "ENR / @chainsafe/enr",
    tamperings: [
      [
        "a character of the signature",
        inLock(
          (l) => (l.cluster_definition.operators[0].enr = otherSignature(l.cluster_definition.operators[0].enr)),
        ),
        /verify/i,
      ],
      ["no ENR", inLock((l) => (l.cluster_definition.operators[0].enr = "")), /enr:/],
      ["foreign identity", (c) => c.folders[0].files.set(IDENTITY, "11".repeat(32)), /none of the operators/],
    ],
  },
  {
    judge: "hash trees / @chainsafe/ssz",
    tamperings: [
      [
        "name",
        inLock((l) => (l.cluster_definition.name = "x" + (l.cluster_definition.name ?? ""))),
        /config_hash/,
      ],
      [
        "uuid",
        inLock((l) => (l.cluster_definition.uuid = flipped(l.cluster_definition.uuid).toUpperCase())),
        /config_hash/,
      ],
      ["timestamp", inLock((l) => (l.cluster_definition.timestamp = "2020-01-01T00:00:00Z")), /config_hash/],
      ["threshold", inLock((l) => (l.cluster_definition.threshold -= 1)), /config_hash/],
      ["dkg_algorithm", inLock((l) => (l.cluster_definition.dkg_algorithm += "x")), /config_hash/],
      [
        "fork_version",
        inLock((l) => (l.cluster_definition.fork_version = flipped(l.cluster_definition.fork_version))),
        /config_hash/,
      ],
      [
        "withdrawal address",
        inLock((l) => (l.cluster_definition.validators[0].withdrawal_address = "0x" + "33".repeat(20))),
        /config_hash/,
      ],
      [
        "fee recipient",
        inLock((l) => (l.cluster_definition.validators[0].fee_recipient_address = "0x" + "33".repeat(20))),
        /config_hash/,
      ],
      [
        "deposit amounts",
        inLock((l) => (l.cluster_definition.deposit_amounts = ["31000000000", "1000000000"])),
        /config_hash/,
      ],
      [
        "version",
        inLock(
          (l) => (l.cluster_definition.version = l.cluster_definition.version === "v1.8.0" ? "v1.9.0" : "v1.8.0"),
        ),
        /config_hash/,
      ],
      ["an operator's ENR", inLock((l) => swapEnr(l.cluster_definition.operators)), /definition_hash/],
      ["a public share", inLock((l) => swap(l.distributed_validators[0].public_shares, 0, 1)), /lock_hash/],
      [
        "distributed key",
        inLock(
          (l) =>
            (l.distributed_validators[0].distributed_public_key = flipped(
              l.distributed_validators[0].distributed_public_key,
            )),
        ),
        /lock_hash/,
      ],
      [
        "deposit signature",
        inLock((l) => (firstAmount(l).signature = flipped(firstAmount(l).signature))),
        /lock_hash/,
      ],
      ["deposit amount", inLock((l) => (firstAmount(l).amount = "5000000000")), /lock_hash/],
      ["registration's gas limit", inLock((l) => (registration(l).message.gas_limit += 1)), /lock_hash/],
      ["lock hash", inLock((l) => (l.lock_hash = flipped(l.lock_hash))), /lock_hash/],
    ],
  },
  {
    judge: "EIP-712 / ethers",
    tamperings: [
      [
        "two operators' config signatures swapped",
        inLock((l) => swapField(l.cluster_definition.operators, "config_signature")),
        /OperatorConfigHash signed/,
        signed,
      ],
      [
        "two operators' ENR signatures swapped",
        inLock((l) => swapField(l.cluster_definition.operators, "enr_signature")),
        /ENR signed/,
        signed,
      ],
      [
        "two operators' addresses swapped",
        inLock((l) => swapField(l.cluster_definition.operators, "address")),
        /signed by operator/,
        signed,
      ],
      [
        "another creator",
        inLock((l) => (l.cluster_definition.creator.address = l.cluster_definition.operators[1].address)),
        /signed by creator/,
        (c) => signed(c) && otherCreator(c),
      ],
      [
        "another configuration, hashes made to fit",
        inLock((l) => ((l.cluster_definition.name = "other"), rehash(l))),
        /CreatorConfigHash signed/,
        signed,
      ],
      [
        "another network",
        inLock((l) => (l.cluster_definition.fork_version = "0x90000069")),
        /signed by creator/,
        signed,
      ],
      [
        "creator's signature removed",
        inLock((l) => Object.assign(l.cluster_definition.creator, { address: "", config_signature: "" })),
        /creator did not/,
        signed,
      ],
      [
        "one operator unsigned",
        inLock((l) =>
          Object.assign(l.cluster_definition.operators[0], {
            address: "",
            config_signature: "",
            enr_signature: "",
          }),
        ),
        /some did not/,
        signed,
      ],
    ],
  },
  {
    judge: "node signatures / ethers",
    tamperings: [
      ["two swapped", inLock((l) => swap(l.node_signatures, 0, 1)), /signer for operator 1/],
      ["by a foreign key", inLock(foreignNodeSignature), /signer for operator 1/],
      ["one missing", inLock((l) => l.node_signatures.pop()), /number of node signatures/],
      ["over another lock", inLock((l) => (l.lock_hash = flipped(l.lock_hash))), /signer for operator|recover/i],
    ],
  },
  ...bls("bls-eth-wasm"),
  ...bls("@chainsafe/blst"),
  {
    judge: "deposits / @lodestar/types",
    tamperings: depositTamperings({
      signature: /signature is not valid/,
      damaged: /deposit_data_root/,
      credentials: /withdrawal_credentials/,
      message: /deposit_message_root/,
      data: /deposit_data_root/,
      amount: /file name/,
      fork: /fork_version/,
      network: /network_name/,
      key: /one deposit for each validator/,
      order: /order/,
      missing: /one deposit for each validator/,
    }),
  },
  {
    judge: "deposits / ethstaker-deposit",
    tamperings: depositTamperings({
      signature: /validate_deposit refuses/,
      damaged: /validate_deposit refuses/,
      credentials: /message|validate_deposit refuses/,
      message: /deposit_message_root/,
      data: /validate_deposit refuses/,
      amount: /deposit_message_root/,
      fork: /fork_version/,
      network: /fork_version/,
      key: /not a validator/,
    }),
  },
  {
    judge: "keystore / @chainsafe/bls-keystore",
    tamperings: [
      [
        "a UUID of no version, in a ceremony of ours",
        (cluster) => {
          inLock((l) => (l.cluster_definition.dkg_algorithm = "gjkr"))(cluster);
          inKeystore((k) => (k.uuid = "BFC8ED54-B40B-1FE0-E1A4-3CECAD82134B"))(cluster);
        },
        /no UUID of version 4/,
        strong,
      ],
    ],
  },
  ...["keystore / @chainsafe/bls-keystore", "keystore / ethstaker-deposit"].map((judge) => ({
    judge,
    tamperings: [
      [
        "checksum",
        inKeystore((k) => (k.crypto.checksum.message = flipped(k.crypto.checksum.message))),
        /checksum|password|invalid/i,
        strong,
      ],
      [
        "cipher text",
        inKeystore((k) => (k.crypto.cipher.message = flipped(k.crypto.cipher.message))),
        /checksum|password|invalid/i,
        strong,
      ],
      [
        "initialisation vector",
        inKeystore((k) => (k.crypto.cipher.params.iv = flipped(k.crypto.cipher.params.iv))),
        /share|private key|invalid encoding|bad scalar/i,
        strong,
      ],
      [
        "another key derivation function",
        inKeystore((k) => (k.crypto.kdf.function = "md5")),
        /kdf|schema|md5|invalid|valid/i,
        strong,
      ],
      [
        "a wrong password",
        inKeystore((k, folder, name) => folder.files.set(name.replace("json", "txt"), "0".repeat(32))),
        /checksum|password|invalid/i,
        strong,
      ],
      ["another operator's keystore", swapKeystores, /share/, strong],
    ],
  })),
];

function otherSignature(enr) {
  const at = 12; // inside the signature
  return enr.slice(0, at) + (enr[at] === "A" ? "B" : "A") + enr.slice(at + 1);
}
function swapField(operators, field) {
  [operators[0][field], operators[1][field]] = [operators[1][field], operators[0][field]];
}
function swapEnr(operators) {
  swapField(operators, "enr");
}
function otherCreator(cluster) {
  const { creator, operators } = JSON.parse(cluster.folders[0].files.get(LOCK)).cluster_definition;
  return creator.address.toLowerCase() !== operators[1].address.toLowerCase();
}
