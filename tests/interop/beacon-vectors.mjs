// usage: LODESTAR_PRESET=minimal|mainnet node beacon-vectors.mjs > ../vectors/beacon/containers-PRESET.json
// Containers of a validator's duties as @lodestar/types writes and hashes them: JSON, SSZ, roots, signing roots.
// Filled from a counter through SHA-256, so that every run gives the same file.
import { createHash } from "node:crypto";
import { ssz } from "@lodestar/types";

const GENESIS_VALIDATORS_ROOT = Buffer.alloc(32, 7);
const VERSION = { electra: [0x60, 0, 0, 0x38], fulu: [0x70, 0, 0, 0x38], capella: [0x40, 0, 0, 0x38], genesis: [0x10, 0, 0, 0x38] };
const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

let counter = 0;
function random(length) {
  const parts = [];
  for (let have = 0; have < length; have += 32) parts.push(createHash("sha256").update(String(counter++)).digest());
  return Uint8Array.from(Buffer.concat(parts).subarray(0, length));
}

/** A value with something in every list. */
function fill(type) {
  switch (type.constructor.name) {
    case "UintNumberType":
      return Buffer.from(random(6)).readUIntLE(0, 6) % (type.byteLength === 8 ? 2 ** 44 : 2 ** 8);
    case "UintBigintType":
      return BigInt(hex(random(type.byteLength)));
    case "ByteVectorType":
      return random(type.lengthBytes);
    case "ByteListType":
      return random(Math.min(type.limitBytes, 77));
    case "BitVectorType":
    case "BitListType": {
      const value = type.defaultValue().constructor;
      const length = type.lengthBits ?? Math.min(type.limitBits, 19);
      return value.fromBoolArray(Array.from(random(length), (byte) => byte % 3 === 0));
    }
    case "ListBasicType":
    case "ListCompositeType":
      return Array.from({ length: Math.min(type.limit, 2) }, () => fill(type.elementType));
    case "VectorBasicType":
    case "VectorCompositeType":
      return Array.from({ length: type.length }, () => fill(type.elementType));
    case "ContainerType":
    case "ContainerNodeStructType":
      return Object.fromEntries(Object.entries(type.fields).map(([name, field]) => [name, fill(field)]));
    default:
      // Types of the library that extend those above.
      if (type.fields) return Object.fromEntries(Object.entries(type.fields).map(([name, field]) => [name, fill(field)]));
      if (type.lengthBytes) return random(type.lengthBytes);
      if (type.byteLength) return Number(Buffer.from(random(4)).readUInt32LE(0));
      throw new Error(`cannot fill ${type.constructor.name}`);
  }
}

function domain(type, version, root = GENESIS_VALIDATORS_ROOT) {
  const forkData = ssz.phase0.ForkData.hashTreeRoot({ currentVersion: Uint8Array.from(version), genesisValidatorsRoot: root });
  return Uint8Array.from([...type, ...forkData.subarray(0, 28)]);
}
const signingRoot = (objectRoot, dom) => hex(ssz.phase0.SigningData.hashTreeRoot({ objectRoot, domain: dom }));
const described = (type, value) => ({ json: type.toJson(value), ssz: hex(type.serialize(value)), root: hex(type.hashTreeRoot(value)) });

const out = { containers: {}, signing: [], blocks: {} };
const put = (name, type, value = fill(type)) => ((out.containers[name] = described(type, value)), value);

// A slot of epoch 1 (electra) and one of epoch 2 (fulu), in both presets.
const slotsPerEpoch = process.env.LODESTAR_PRESET === "minimal" ? 8 : 32;
put("AttestationData", ssz.phase0.AttestationData);
put("SingleAttestation", ssz.electra.SingleAttestation);
put("Attestation", ssz.electra.Attestation);
put("SyncCommitteeMessage", ssz.altair.SyncCommitteeMessage);
put("SyncCommitteeContribution", ssz.altair.SyncCommitteeContribution);
put("BeaconBlockHeader", ssz.phase0.BeaconBlockHeader);
for (const [fork, epoch] of [["electra", 1], ["fulu", 2]]) {
  const slot = epoch * slotsPerEpoch + 3;
  const sign = (type, objectRoot) => signingRoot(objectRoot, domain([type, 0, 0, 0], VERSION[fork]));
  const data = { ...fill(ssz.phase0.AttestationData), slot, index: 0, target: { epoch, root: random(32) } };
  const header = { ...fill(ssz.phase0.BeaconBlockHeader), slot };
  const aggregate = fill(ssz.electra.AggregateAndProof);
  aggregate.aggregate.data = data;
  const contribution = fill(ssz.altair.ContributionAndProof);
  contribution.contribution.slot = slot;
  contribution.contribution.subcommitteeIndex = 2;
  const signedAggregate = { message: aggregate, signature: random(96) };
  const signedContribution = { message: contribution, signature: random(96) };
  out.signing.push({
    fork, epoch, slot,
    attestation: { data: ssz.phase0.AttestationData.toJson(data), root: sign(1, ssz.phase0.AttestationData.hashTreeRoot(data)) },
    block: { header: ssz.phase0.BeaconBlockHeader.toJson(header), root: sign(0, ssz.phase0.BeaconBlockHeader.hashTreeRoot(header)) },
    randao: sign(2, ssz.Epoch.hashTreeRoot(epoch)),
    selection: sign(5, ssz.Slot.hashTreeRoot(slot)),
    aggregate: { signed: ssz.electra.SignedAggregateAndProof.toJson(signedAggregate), root: sign(6, ssz.electra.AggregateAndProof.hashTreeRoot(aggregate)) },
    sync_message: { block_root: hex(header.parentRoot), root: sign(7, header.parentRoot) },
    sync_selection: { subcommittee_index: 2, root: sign(8, ssz.altair.SyncAggregatorSelectionData.hashTreeRoot({ slot, subcommitteeIndex: 2 })) },
    contribution: { signed: ssz.altair.SignedContributionAndProof.toJson(signedContribution), root: sign(9, ssz.altair.ContributionAndProof.hashTreeRoot(contribution)) },
  });
}
const exit = { epoch: 0, validatorIndex: 1234567 };
out.exit = { epoch: 0, validator_index: 1234567, root: signingRoot(ssz.phase0.VoluntaryExit.hashTreeRoot(exit), domain([4, 0, 0, 0], VERSION.capella)) };
const registration = fill(ssz.bellatrix.ValidatorRegistrationV1);
out.registration = {
  message: ssz.bellatrix.ValidatorRegistrationV1.toJson(registration),
  root: signingRoot(ssz.bellatrix.ValidatorRegistrationV1.hashTreeRoot(registration), domain([0, 0, 0, 1], VERSION.genesis, Buffer.alloc(32))),
};

// A block with something in every list, the same one blinded, and what is published of each.
const signature = random(96);
for (const fork of ["electra", "fulu"]) {
  const types = { ...ssz.electra, ...ssz[fork] };
  const block = fill(types.BeaconBlock);
  const payload = block.body.executionPayload;
  const { transactions, withdrawals, ...rest } = payload;
  const { executionPayload, ...body } = block.body;
  const blinded = {
    ...block,
    body: {
      ...body,
      executionPayloadHeader: {
        ...rest,
        transactionsRoot: ssz.bellatrix.Transactions.hashTreeRoot(transactions),
        withdrawalsRoot: ssz.capella.Withdrawals.hashTreeRoot(withdrawals),
      },
    },
  };
  const proofs = fork === "electra" ? 1 : 128;
  const contents = { block, kzgProofs: Array.from({ length: proofs }, (_, i) => new Uint8Array(48).fill(i)), blobs: [new Uint8Array(131072).fill(0x5a)] };
  const signedContents = { signedBlock: { message: block, signature }, kzgProofs: contents.kzgProofs, blobs: contents.blobs };
  const empty = types.BeaconBlock.defaultValue();
  out.blocks[fork] = {
    signature: hex(signature),
    full: described(types.BeaconBlock, block),
    body_root: hex(types.BeaconBlockBody.hashTreeRoot(block.body)),
    blinded: described(types.BlindedBeaconBlock, blinded),
    signed_blinded_sha256: sha256(types.SignedBlindedBeaconBlock.serialize({ message: blinded, signature })),
    // One blob of bytes 0x5a; proof number i is 48 bytes i.
    contents_sha256: sha256(types.BlockContents.serialize(contents)),
    signed_contents_sha256: sha256(types.SignedBlockContents.serialize(signedContents)),
    empty: described(types.BeaconBlock, empty),
  };
  // The JSON of one fork is enough: the bodies of both have the same fields.
  const { full, blinded: other, empty: nothing } = out.blocks[fork];
  delete nothing.json;
  if (fork === "electra") for (const one of [full, other]) delete one.json;
}
process.stdout.write(JSON.stringify(out) + "\n");
