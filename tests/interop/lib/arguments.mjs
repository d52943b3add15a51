// FOLDER... [--network-file FILE]... [--complete]

import { parseArgs } from "node:util";
import { networks } from "./networks.mjs";

/** `{ paths, context }` from the command line; ends the process with a usage line when it cannot be read. */
export function readArguments(script) {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        "network-file": { type: "string", multiple: true, default: [] },
        complete: { type: "boolean", default: false },
      },
    });
    if (positionals.length === 0) throw new Error("no folder given");
    return {
      paths: positionals,
      context: { networks: networks(values["network-file"]), complete: values.complete },
    };
  } catch (error) {
    console.error(`${error.message}\nusage: node ${script} FOLDER... [--network-file FILE]... [--complete]`);
    process.exit(2);
  }
}
