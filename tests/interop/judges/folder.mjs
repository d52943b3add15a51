// Our own look at the folders: everything is there, once, and the operators agree. The other judges see only what exists.

import { must, mustEqual } from "../lib/bytes.mjs";
import { keystoresOf, lockOf } from "../lib/folders.mjs";
import { operatorIndex } from "../lib/operators.mjs";

export const name = "folder";

export function subjects(cluster, context) {
  const perFolder = cluster.folders.map((folder) => ({ file: folder.name, check: () => judge(folder, context) }));
  return [
    ...perFolder,
    { file: `${cluster.name} (${cluster.folders.length} operators)`, check: () => judgeAll(cluster, context) },
  ];
}

function judge(folder, context) {
  const weak = [...folder.files.keys()].filter((file) => file.includes("insecure"));
  must(!context.complete || weak.length === 0, `weak keystores: ${weak}`);
  const lock = lockOf(folder);
  const validators = lock.distributed_validators.length;
  const numbers = keystoresOf(folder).map((keystore) => keystore.index);
  mustEqual(numbers.join(), [...Array(validators).keys()].join(), "keystore numbers");

  const expected = lock.distributed_validators[0].partial_deposit_data.map(({ amount }) =>
    amount === "32000000000" ? "deposit-data.json" : `deposit-data-${Number(amount) / 1e9}eth.json`,
  );
  const found = [...folder.files.keys()].filter((file) => file.startsWith("deposit-data"));
  mustEqual(found.sort().join(), expected.sort().join(), "deposit files");

  const definition = folder.files.get("cluster-definition.json");
  if (definition !== undefined) {
    const same = JSON.stringify(JSON.parse(definition)) === JSON.stringify(lock.cluster_definition);
    must(same, "cluster-definition.json differs from the definition in the lock");
  } else {
    must(!context.complete, "no cluster-definition.json");
  }
}

function judgeAll(cluster, context) {
  const [first, ...others] = cluster.folders;
  for (const other of others) {
    const same = other.files.get("cluster-lock.json") === first.files.get("cluster-lock.json");
    must(same, `${other.name} has another cluster-lock.json than ${first.name}`);
  }
  const indices = cluster.folders.map(operatorIndex);
  mustEqual(new Set(indices).size, indices.length, "different operators");
  if (context.complete) {
    mustEqual(indices.length, lockOf(first).cluster_definition.operators.length, "number of operator folders");
  }
}
