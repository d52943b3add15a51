// Signing roots of deposits and builder registrations, with the containers of @lodestar/types.

import { ssz } from "@lodestar/types";
import { bytes } from "./bytes.mjs";

const DOMAIN_DEPOSIT = "03000000";
const DOMAIN_APPLICATION_BUILDER = "00000001";

function signingRoot(objectRoot, domainType, forkVersion) {
  const fork = ssz.phase0.ForkData.hashTreeRoot({
    currentVersion: bytes(forkVersion),
    genesisValidatorsRoot: new Uint8Array(32),
  });
  const domain = new Uint8Array([...bytes(domainType), ...fork.slice(0, 28)]);
  return ssz.phase0.SigningData.hashTreeRoot({ objectRoot, domain });
}

/** Roots of one deposit, from the entry of a lock or of a deposit file. */
export function depositRoots(entry, forkVersion) {
  const message = {
    pubkey: bytes(entry.pubkey),
    withdrawalCredentials: bytes(entry.withdrawal_credentials),
    amount: Number(entry.amount),
  };
  const messageRoot = ssz.phase0.DepositMessage.hashTreeRoot(message);
  const dataRoot = ssz.phase0.DepositData.hashTreeRoot({ ...message, signature: bytes(entry.signature) });
  return { messageRoot, dataRoot, signingRoot: signingRoot(messageRoot, DOMAIN_DEPOSIT, forkVersion) };
}

export function registrationSigningRoot(message, forkVersion) {
  const objectRoot = ssz.bellatrix.ValidatorRegistrationV1.hashTreeRoot({
    feeRecipient: bytes(message.fee_recipient),
    gasLimit: Number(message.gas_limit),
    timestamp: Number(message.timestamp),
    pubkey: bytes(message.pubkey),
  });
  return signingRoot(objectRoot, DOMAIN_APPLICATION_BUILDER, forkVersion);
}

/** The credentials that a definition asks for: 0x01, or 0x02 with compounding, zeros, address. */
export function withdrawalCredentials(definition, index) {
  const address = definition.validators[index].withdrawal_address.toLowerCase().replace(/^0x/, "");
  return `0x${definition.compounding ? "02" : "01"}${"00".repeat(11)}${address}`;
}
