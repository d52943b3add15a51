// ethstaker-deposit (Python) validates deposit files and opens keystores; it answers job by job over a pipe.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { must } from "../lib/bytes.mjs";
import { keystoresOf, lockOf } from "../lib/folders.mjs";
import { operatorIndex } from "../lib/operators.mjs";
import { withdrawalCredentials } from "../lib/signing.mjs";

let python;

function ask(job) {
  python ??= start();
  return python(job);
}

function start() {
  const script = fileURLToPath(new URL("ethstaker.py", import.meta.url));
  const child = spawn(process.env.INTEROP_PYTHON ?? "python3", [script], { stdio: ["pipe", "pipe", "inherit"] });
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.unref();
  child.stdin.unref?.();
  let last = Promise.resolve();
  return (job) => {
    last = last.then(async () => {
      child.stdin.write(JSON.stringify(job) + "\n");
      const { value, done } = await answers.next();
      if (done) throw new Error("ethstaker.py ended: is ethstaker-deposit installed for INTEROP_PYTHON?");
      return JSON.parse(value);
    });
    return last;
  };
}

async function mustAccept(job) {
  const { ok, why } = await ask(job);
  must(ok, why);
}

export const deposits = {
  name: "deposits / ethstaker-deposit",
  subjects: (cluster) =>
    cluster.folders.flatMap((folder) =>
      [...folder.files.keys()]
        .filter((file) => /^deposit-data.*\.json$/.test(file))
        .map((file) => {
          const text = folder.files.get(file);
          return {
            file: `${folder.name}/${file}`,
            key: text + folder.files.get("cluster-lock.json"),
            check: () => judgeDeposits(JSON.parse(text), lockOf(folder)),
          };
        }),
    ),
};

async function judgeDeposits(entries, lock) {
  must(entries.length > 0, "no deposits");
  for (const entry of entries) {
    const index = lock.distributed_validators.findIndex((v) => v.distributed_public_key === "0x" + entry.pubkey);
    must(index >= 0, "not a validator of the lock");
    await mustAccept({
      kind: "deposit",
      entry,
      pubkey: lock.distributed_validators[index].distributed_public_key.slice(2),
      withdrawal_credentials: withdrawalCredentials(lock.cluster_definition, index).slice(2),
      fork_version: lock.cluster_definition.fork_version,
    });
  }
}

export const keystores = {
  name: "keystore / ethstaker-deposit",
  subjects: (cluster) =>
    cluster.folders.flatMap((folder) =>
      keystoresOf(folder).map((keystore) => ({
        file: `${folder.name}/${keystore.name}`,
        check: () => judgeKeystore(folder, keystore),
      })),
    ),
};

async function judgeKeystore(folder, keystore) {
  const share = lockOf(folder).distributed_validators[keystore.index].public_shares[operatorIndex(folder)];
  const { text, password } = keystore;
  const { ok, why } = await ask({ kind: "keystore", text, password, pubkey: share.slice(2) });
  // Test clusters of other software have keystores that are weak by intention and say so in their name.
  if (keystore.name.includes("insecure") && /parameters chosen are not secure/.test(why))
    return "refused as weak, as it must be";
  must(ok, why);
}
