#!/usr/bin/env node
// Judges data folders with software that nobody here wrote. FOLDER is an operator's data folder or holds several.
// --complete: the folders must be all the operators of their cluster, each with its definition.
// One line per judge and file; exit code 1 when anything is refused.

import { readArguments } from "./lib/arguments.mjs";
import { readClusters } from "./lib/folders.mjs";
import { judges, verdicts } from "./lib/judges.mjs";

const { paths, context } = readArguments("judge.mjs");
let passed = 0;
let failed = 0;

for (const cluster of clustersOrExit()) {
  for (const judge of judges) {
    for await (const { file, ok, why, note } of verdicts(judge, cluster, context)) {
      if (ok) passed += 1;
      else failed += 1;
      const remark = ok ? note : why;
      console.log(`${ok ? "ok  " : "FAIL"}  ${judge.name.padEnd(34)}  ${file}${remark ? `: ${remark}` : ""}`);
    }
  }
}

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

function clustersOrExit() {
  try {
    return readClusters(paths);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
