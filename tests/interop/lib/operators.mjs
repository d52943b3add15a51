// Which operator of the definition a data folder belongs to.

import { ENR } from "@chainsafe/enr";
import { SigningKey } from "ethers";
import { hex, must } from "./bytes.mjs";
import { lockOf } from "./folders.mjs";

export const IDENTITY = "charon-enr-private-key";

/** Compressed secp256k1 public key (33 bytes, hex) in an ENR. Some writers pad the text with "=". */
export const enrPublicKey = (text) => hex(ENR.decodeTxt(text.replace(/=+$/, "")).kvs.get("secp256k1"));

/** The identity's secret key, 0x and 64 hex digits. */
export function identityOf(folder) {
  const text = folder.files.get(IDENTITY);
  must(text !== undefined, `no ${IDENTITY}`);
  must(/^[0-9a-f]{64}$/.test(text), `${IDENTITY} is not 64 lower-case hex digits`);
  return "0x" + text;
}

/** 0-based position among the operators of the lock's definition. */
export function operatorIndex(folder) {
  const own = new SigningKey(identityOf(folder)).compressedPublicKey;
  const index = lockOf(folder).cluster_definition.operators.findIndex((o) => enrPublicKey(o.enr) === own);
  must(index >= 0, `${IDENTITY} is none of the operators`);
  return index;
}
