// ethers checks secp256k1 signatures: EIP-712 by the wallets of creator and operators, and the nodes' over the lock hash.

import { SigningKey, verifyTypedData } from "ethers";
import { bytes, must, mustEqual } from "../lib/bytes.mjs";
import { lockOf } from "../lib/folders.mjs";
import { networkOf } from "../lib/networks.mjs";
import { enrPublicKey } from "../lib/operators.mjs";

export const nodes = {
  name: "node signatures / ethers",
  subjects: (cluster) => perLock(cluster, judgeNodes),
};

export const wallets = {
  name: "EIP-712 / ethers",
  subjects: (cluster, context) => [
    ...perLock(cluster, (lock) => judgeWallets(lock.cluster_definition, context)),
    ...cluster.folders
      .filter((folder) => folder.files.has("cluster-definition.json"))
      .map((folder) => {
        const text = folder.files.get("cluster-definition.json");
        const check = () => judgeWallets(JSON.parse(text), context);
        return { file: `${folder.name}/cluster-definition.json`, key: text, check };
      }),
  ],
};

function perLock(cluster, judge) {
  return cluster.folders.map((folder) => ({
    file: `${folder.name}/cluster-lock.json`,
    key: folder.files.get("cluster-lock.json"),
    check: () => judge(lockOf(folder)),
  }));
}

/** Each operator's node key signed the 32 bytes of the lock hash, nothing hashed again. */
function judgeNodes(lock) {
  const { operators } = lock.cluster_definition;
  mustEqual(lock.node_signatures.length, operators.length, "number of node signatures");
  lock.node_signatures.forEach((signature, i) => {
    must([0, 1].includes(bytes(signature)[64]), `recovery byte of operator ${i + 1} is neither 0 nor 1`);
    const signer = SigningKey.recoverPublicKey(lock.lock_hash, signature);
    mustEqual(
      SigningKey.computePublicKey(signer, true),
      enrPublicKey(operators[i].enr),
      `signer for operator ${i + 1}`,
    );
  });
}

function judgeWallets(definition, context) {
  const { operators, creator } = definition;
  const domain = { name: "Obol", version: "1", chainId: networkOf(definition, context.networks).chainId };
  const check = (type, field, value, address, signature, who) => {
    const signer = verifyTypedData(
      domain,
      { [type]: [{ name: field, type: "string" }] },
      { [field]: value },
      signature,
    );
    mustEqual(signer.toLowerCase(), address.toLowerCase(), `${type} signed by ${who}`);
  };

  const signedBy = (o) => o.address !== "" || o.config_signature !== "" || (o.enr_signature ?? "") !== "";
  if (signedBy(creator)) {
    check(
      "CreatorConfigHash",
      "creator_config_hash",
      definition.config_hash,
      creator.address,
      creator.config_signature,
      "creator",
    );
  }
  const signed = operators.filter(signedBy).length;
  must(signed === 0 || signed === operators.length, "some operators signed, some did not");
  must(signed === 0 || signedBy(creator), "operators signed, the creator did not");
  operators.filter(signedBy).forEach((o, i) => {
    const who = `operator ${i + 1}`;
    check(
      "OperatorConfigHash",
      "operator_config_hash",
      definition.config_hash,
      o.address,
      o.config_signature,
      who,
    );
    check("ENR", "enr", o.enr, o.address, o.enr_signature, who);
  });
  return signed > 0 || signedBy(creator) ? "" : "not signed by any wallet";
}
