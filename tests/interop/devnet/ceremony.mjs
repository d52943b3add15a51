#!/usr/bin/env node
// Holds a ceremony for the development chain, for several scenarios to share: node ceremony.mjs OUT --program CONCLAVE

import { parseArgs } from "node:util";
import { endChildren, holdCeremony } from "./lib/devnet.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    program: { type: "string", default: process.env.CONCLAVE_BIN },
    operators: { type: "string", default: "4" },
    threshold: { type: "string", default: "3" },
    validators: { type: "string", default: "4" },
  },
});
const [out] = positionals;
if (!out || !values.program) {
  console.error("usage: ceremony.mjs OUT --program CONCLAVE [--operators 4] [--threshold 3] [--validators 4]");
  process.exit(2);
}
process.on("exit", endChildren);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));
await holdCeremony({ ...values, out });
