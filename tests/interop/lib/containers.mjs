// The hash trees of cluster definition and lock, versions v1.8 to v1.11, as SSZ containers.
// Published rules of the format: fixed-size fields are left-padded with zeros, so an absent signature is all zeros.

import {
  BooleanType,
  ByteListType,
  ByteVectorType,
  ContainerType,
  ListBasicType,
  ListCompositeType,
  UintBigintType,
} from "@chainsafe/ssz";
import { bytes } from "./bytes.mjs";

const uint64 = new UintBigintType(8);
const bool = new BooleanType();
const Bytes = (n) => new ByteVectorType(n);
const Text = (n) => new ByteListType(n);
const List = (type, n) => new ListCompositeType(type, n);

const MINOR = /^v1\.(\d+)\.0$/;

/** The minor version of a definition; throws for versions that have no layout here. */
export function minorVersion(definition) {
  const minor = Number(MINOR.exec(definition.version)?.[1]);
  if (!(minor >= 8 && minor <= 11)) throw new Error(`no layout for version ${definition.version}`);
  return minor;
}

const utf8 = (text) => new TextEncoder().encode(text ?? "");

function leftPadded(hexText, size) {
  const raw = bytes(hexText ?? "");
  if (raw.length > size) throw new Error(`${raw.length} bytes where ${size} fit`);
  const out = new Uint8Array(size);
  out.set(raw, size - raw.length);
  return out;
}

/** Signatures by wallets: one of 65 bytes, or since v1.11 a list (several owners of a contract wallet). */
function walletSignature(minor) {
  if (minor < 11) return { type: Bytes(65), value: (text) => leftPadded(text, 65) };
  const value = (text) => {
    const raw = bytes(text ?? "");
    if (raw.length % 65 !== 0) throw new Error("signature is not a multiple of 65 bytes");
    return Array.from({ length: raw.length / 65 }, (_, i) => raw.slice(65 * i, 65 * (i + 1)));
  };
  return { type: List(Bytes(65), 32), value };
}

/** `[name, type, value]` of each field of a definition. `full` selects definition_hash over config_hash. */
function definitionFields(definition, full) {
  const minor = minorVersion(definition);
  const signature = walletSignature(minor);
  const address = Bytes(20);

  const operator = { address };
  const creator = { address };
  if (full) {
    Object.assign(operator, { enr: Text(1024), configSignature: signature.type, enrSignature: signature.type });
    Object.assign(creator, { configSignature: signature.type });
  }
  const operatorValue = (o) => ({
    address: leftPadded(o.address, 20),
    enr: utf8(o.enr),
    configSignature: signature.value(o.config_signature),
    enrSignature: signature.value(o.enr_signature),
  });

  const fields = [
    ["uuid", Text(64), utf8(definition.uuid)],
    ["name", Text(256), utf8(definition.name)],
    ["version", Text(16), utf8(definition.version)],
    ["timestamp", Text(32), utf8(definition.timestamp)],
    ["numValidators", uint64, BigInt(definition.num_validators)],
    ["threshold", uint64, BigInt(definition.threshold)],
    ["dkgAlgorithm", Text(32), utf8(definition.dkg_algorithm)],
    ["forkVersion", Bytes(4), leftPadded(definition.fork_version, 4)],
    ["operators", List(new ContainerType(operator), 256), definition.operators.map(operatorValue)],
    [
      "creator",
      new ContainerType(creator),
      {
        address: leftPadded(definition.creator.address, 20),
        configSignature: signature.value(definition.creator.config_signature),
      },
    ],
    [
      "validators",
      List(new ContainerType({ feeRecipient: address, withdrawal: address }), 65536),
      definition.validators.map((v) => ({
        feeRecipient: leftPadded(v.fee_recipient_address, 20),
        withdrawal: leftPadded(v.withdrawal_address, 20),
      })),
    ],
    ["depositAmounts", new ListBasicType(uint64, 256), (definition.deposit_amounts ?? []).map(BigInt)],
  ];
  if (minor >= 9) fields.push(["consensusProtocol", Text(256), utf8(definition.consensus_protocol)]);
  if (minor >= 10) {
    fields.push(["targetGasLimit", uint64, BigInt(definition.target_gas_limit)]);
    fields.push(["compounding", bool, definition.compounding]);
  }
  if (full) fields.push(["configHash", Bytes(32), leftPadded(definition.config_hash, 32)]);
  return fields;
}

function definitionContainer(definition, full) {
  const fields = definitionFields(definition, full);
  return {
    type: new ContainerType(Object.fromEntries(fields.map(([name, type]) => [name, type]))),
    value: Object.fromEntries(fields.map(([name, , value]) => [name, value])),
  };
}

function root({ type, value }) {
  return type.hashTreeRoot(value);
}

export const configHash = (definition) => root(definitionContainer(definition, false));
export const definitionHash = (definition) => root(definitionContainer(definition, true));

const Validator = new ContainerType({
  distributedPublicKey: Bytes(48),
  publicShares: List(Bytes(48), 256),
  partialDepositData: List(
    new ContainerType({
      pubkey: Bytes(48),
      withdrawalCredentials: Bytes(32),
      amount: uint64,
      signature: Bytes(96),
    }),
    256,
  ),
  builderRegistration: new ContainerType({
    message: new ContainerType({
      feeRecipient: Bytes(20),
      gasLimit: uint64,
      timestamp: uint64,
      pubkey: Bytes(48),
    }),
    signature: Bytes(96),
  }),
});

function validatorValue(validator) {
  const { message, signature } = validator.builder_registration;
  return {
    distributedPublicKey: leftPadded(validator.distributed_public_key, 48),
    publicShares: (validator.public_shares ?? []).map((share) => leftPadded(share, 48)),
    partialDepositData: (validator.partial_deposit_data ?? []).map((deposit) => ({
      pubkey: leftPadded(deposit.pubkey, 48),
      withdrawalCredentials: leftPadded(deposit.withdrawal_credentials, 32),
      amount: BigInt(deposit.amount),
      signature: leftPadded(deposit.signature, 96),
    })),
    builderRegistration: {
      message: {
        feeRecipient: leftPadded(message.fee_recipient, 20),
        gasLimit: BigInt(message.gas_limit),
        timestamp: BigInt(message.timestamp),
        pubkey: leftPadded(message.pubkey, 48),
      },
      signature: leftPadded(signature, 96),
    },
  };
}

export function lockHash(lock) {
  const definition = definitionContainer(lock.cluster_definition, true);
  const type = new ContainerType({ definition: definition.type, validators: List(Validator, 65536) });
  return type.hashTreeRoot({
    definition: definition.value,
    validators: lock.distributed_validators.map(validatorValue),
  });
}
