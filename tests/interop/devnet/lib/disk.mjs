// A disk that fills, or a process that is killed, at any single write: failing_disk.c, preloaded. Needs Linux and a C compiler.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const source = path.join(path.dirname(new URL(import.meta.url).pathname), "failing_disk.c");

export class FailingDisk {
  #library;
  #count;

  /** Whether this machine can have one. */
  static possible() {
    return process.platform === "linux" && spawnSync("cc", ["--version"]).status === 0;
  }

  /** `work`: a folder that no operator has. */
  constructor(work) {
    this.#library = path.join(work, "failing_disk.so");
    this.#count = path.join(work, "writes");
    const { status, stderr } = spawnSync("cc", ["-shared", "-fPIC", "-o", this.#library, source, "-ldl", "-lpthread"]);
    if (status !== 0) throw new Error(`failing_disk.c cannot be compiled: ${stderr}`);
  }

  /** The environment of a process whose disk is this one. `full`: from this write on; `kill`: at this write or sync. */
  environment(folder, { full, kill } = {}) {
    fs.rmSync(this.#count, { force: true });
    return {
      LD_PRELOAD: this.#library,
      DISK_BELOW: `${fs.realpathSync(folder)}/`,
      DISK_COUNT: this.#count,
      ...(full ? { DISK_FULL_AT: String(full) } : {}),
      ...(kill ? { DISK_KILL_AT: String(kill) } : {}),
    };
  }

  /** What the last process has done so far: `{ writes, all }`, syncs are among all. */
  counted() {
    try {
      const [writes, all] = fs.readFileSync(this.#count, "utf8").split(" ").map(Number);
      return { writes, all };
    } catch {
      return { writes: 0, all: 0 };
    }
  }
}
