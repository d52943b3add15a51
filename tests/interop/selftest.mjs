#!/usr/bin/env node
// Shows that the judges refuse: each tampering of lib/tamperings.mjs changes one thing in the files of a cluster that the judge has
// accepted, and the judge must then refuse it, for the reason named. A judge without a tampering fails the self-test.

import { readArguments } from "./lib/arguments.mjs";
import { readClusters } from "./lib/folders.mjs";
import { judges, verdicts } from "./lib/judges.mjs";
import { cases } from "./lib/tamperings.mjs";

const copyOf = (cluster) => ({
  ...cluster,
  folders: cluster.folders.map((folder) => ({ ...folder, files: new Map(folder.files) })),
});

/** All refusals of one judge about one cluster. */
async function refusals(judge, cluster, context) {
  const found = [];
  for await (const { ok, why } of verdicts(judge, cluster, context)) if (!ok) found.push(why);
  return found;
}

const { paths, context } = readArguments("selftest.mjs");
const clusters = readClusters(paths);
const tried = new Set();
let passed = 0;
let failed = 0;
const report = (ok, text) => {
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? "ok  " : "FAIL"}  ${text}`);
};

for (const cluster of clusters) {
  for (const { judge: name, tamperings } of cases) {
    const judge = judges.find((candidate) => candidate.name === name);
    const before = await refusals(judge, cluster, context);
    if (before.length > 0) report(false, `${name}: refuses ${cluster.name} as it is: ${before[0]}`);
    for (const [what, tamper, reason, applies] of tamperings) {
      if (applies && !applies(cluster, context)) continue;
      tried.add(`${name}: ${what}`);
      const copy = copyOf(cluster);
      tamper(copy);
      const after = await refusals(judge, copy, context);
      const verdict =
        after.length === 0
          ? "ACCEPTED"
          : (after.find((why) => reason.test(why)) ?? `refused for another reason: ${after[0]}`);
      report(
        after.some((why) => reason.test(why)),
        `${name.padEnd(34)}  ${cluster.name}: ${what}: ${verdict}`,
      );
    }
  }
}

for (const { name } of judges) {
  if (!cases.some((entry) => entry.judge === name)) report(false, `${name}: has no tampering`);
}
for (const { judge, tamperings } of cases) {
  for (const [what] of tamperings) {
    if (!tried.has(`${judge}: ${what}`)) report(false, `${judge}: "${what}" was tried on no cluster`);
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
