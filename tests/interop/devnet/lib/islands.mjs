// Operators in network namespaces of their own, so that the harness can cut their network: whatever addresses they learn
// of each other, the only way out of a namespace is the harness's forwarder. Needs Linux, `unshare` and `ip`, and the
// right to make user namespaces; no further rights.
//
// An island is one namespace with a loopback interface and a forwarder (island.mjs) that listens on every other
// operator's port and on the beacon node's, and passes connections through Unix sockets, which namespaces do not
// separate.

import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

const script = path.join(path.dirname(new URL(import.meta.url).pathname), "island.mjs");

export class Islands {
  #folder;
  #reachable;
  #children = [];
  #pids = [];

  /** Whether this machine can have them. */
  static possible() {
    return spawnSync("unshare", ["--user", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]).status === 0;
  }

  /** `reachable`: the places of the operators whom others can call; by default all. */
  constructor(folder, peerPorts, beaconPorts, reachable = peerPorts.map((_, place) => place)) {
    this.#folder = folder;
    this.#reachable = reachable;
    this.peerPorts = peerPorts;
    this.beaconPorts = beaconPorts;
  }

  /** Where the proxy of an operator's beacon node listens. */
  beaconSocket(place) {
    return path.join(this.#folder, `beacon-${place}`);
  }

  /** The words before a program that make it run on an island. */
  wrap(place) {
    return ["nsenter", "--preserve-credentials", "--user", "--net", "--target", String(this.#pids[place])];
  }

  async open() {
    fs.mkdirSync(this.#folder, { recursive: true });
    await Promise.all(this.peerPorts.map((_, place) => this.#settle(place)));
  }

  async #settle(place) {
    const words = ["--user", "--map-root-user", "--net", process.execPath, script, this.#folder, String(place)];
    const ports = [this.peerPorts.join(), this.#reachable.join(), String(this.beaconPorts[place])];
    const child = spawn("unshare", [...words, ...ports], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#children[place] = child;
    const lines = readline.createInterface({ input: child.stdout });
    child.waiting = []; // for one line each
    lines.on("line", (line) => child.waiting.shift()?.resolve(line));
    child.once("exit", (code) => {
      for (const { reject } of child.waiting) reject(new Error(`an island ended with ${code}`));
    });
    this.#pids[place] = Number(await this.#answer(child));
    if (!this.#pids[place]) throw new Error("an island cannot be made");
  }

  #answer(child) {
    return new Promise((resolve, reject) => child.waiting.push({ resolve, reject }));
  }

  async cut(place, isCut) {
    const child = this.#children[place];
    const answer = this.#answer(child);
    child.stdin.write(isCut ? "cut\n" : "join\n");
    await answer;
  }

  end() {
    for (const child of this.#children) child?.kill("SIGKILL");
  }
}
