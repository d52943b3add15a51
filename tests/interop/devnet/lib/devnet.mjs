// A ceremony, a chain whose genesis holds its validators, and one process for each operator.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { Clock } from "./clock.mjs";
import { Islands } from "./islands.mjs";
import { copyFolder, Operator } from "./operator.mjs";
import { freePorts } from "./ports.mjs";
import { Proxy } from "./proxy.mjs";

const here = path.dirname(path.dirname(new URL(import.meta.url).pathname));
const NETWORK = "devnet";
const GENESIS_FORK_VERSION = "0x10000038";

/** Runs a program to its end; its output goes to a file, its first line of output is returned. */
async function runToEnd(words, log, environment = {}) {
  const out = fs.openSync(log, "a");
  const child = spawn(words[0], words.slice(1), {
    env: { ...process.env, ...environment },
    stdio: ["ignore", out, out],
  });
  children.add(child);
  const code = await new Promise((done) =>
    child.once("exit", (code, signal) => done(signal ?? code)).once("error", done),
  );
  children.delete(child);
  fs.closeSync(out);
  if (code !== 0) throw new Error(`${words.slice(0, 3).join(" ")} ended with ${code}; see ${log}:\n${tail(log)}`);
}

const children = new Set();

/** Ends every program that was started and runs still, at once. */
export function endChildren() {
  for (const child of children) child.kill("SIGKILL");
}

const tail = (file) => fs.readFileSync(file, "utf8").split("\n").slice(-15).join("\n");

/**
 * Writes the network file that ceremony and operators read. The chain's genesis is later than any ceremony, and several
 * chains may use one ceremony, so the file's genesis time, which the lock's builder registrations bear, is not the chain's.
 */
function writeNetworkFile(file, slotSeconds) {
  const lines = [
    `name = "${NETWORK}"`,
    "chain_id = 1",
    `genesis_fork_version = "${GENESIS_FORK_VERSION}"`,
    'capella_fork_version = "0x40000038"',
    "genesis_time = 1800000000",
    `slot_seconds = ${slotSeconds}`,
  ];
  fs.writeFileSync(file, lines.join("\n") + "\n");
}

/** Holds a ceremony into `out`, one folder for each operator. */
export async function holdCeremony({ program, operators, threshold, validators, out }) {
  const file = `${out}-network.toml`;
  fs.mkdirSync(path.dirname(out), { recursive: true });
  writeNetworkFile(file, 4);
  const size = ["--operators", operators, "--threshold", threshold, "--validators", validators].map(String);
  await runToEnd(
    [program, "rehearse", ...size, "--network", NETWORK, "--network-file", file, "--out", out],
    `${out}-ceremony.log`,
  );
}

export class Devnet {
  operators = [];
  #chain = null;
  #islands = null;

  /**
   * `settings`: program, liars (other programs by the operator's place), ceremony (folder), work (folder), fork, upgrade,
   * preset, slotSeconds, delay, islands, environment, nodes (how many beacon nodes each operator has; one of them is in its island)
   */
  constructor(settings) {
    this.settings = settings;
  }

  get work() {
    return this.settings.work;
  }

  /** Starts the chain; its genesis is `delay` seconds away. */
  async begin() {
    const { ceremony, work, fork, upgrade, preset, slotSeconds, delay, nodes = 1, first } = this.settings;
    const folders = fs
      .readdirSync(ceremony)
      .filter((name) => /^operator-\d+$/.test(name))
      .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const lock = JSON.parse(fs.readFileSync(path.join(ceremony, folders[0], "cluster-lock.json"), "utf8"));
    this.threshold = lock.cluster_definition.threshold;
    this.pubkeys = lock.distributed_validators.map((validator) => validator.distributed_public_key);
    const count = folders.length;
    const ports = await freePorts(1 + (3 + nodes) * count + 1);
    this.#spare = ports.slice(1 + 3 * count, 1 + 4 * count + 1);
    const furtherPorts = ports.slice(1 + 4 * count + 1);
    const pagePorts = ports.slice(1 + 2 * count, 1 + 3 * count);
    const [chainPort] = ports;
    this.url = `http://127.0.0.1:${chainPort}`;
    const genesis = Math.floor(Date.now() / 1000) + delay;
    const chain = path.join(work, "chain");
    const options = ["--time", genesis, "--fork", fork, "--slot-seconds", slotSeconds].map(String);
    if (upgrade) options.push("--upgrade", upgrade);
    if (first) options.push("--first", first);
    const environment = { LODESTAR_PRESET: preset };
    await runToEnd(
      [
        "node",
        path.join(here, "genesis.mjs"),
        chain,
        ...options,
        "--genesis-fork-version",
        GENESIS_FORK_VERSION,
        ...this.pubkeys,
      ],
      path.join(work, "genesis.log"),
      environment,
    );
    const log = fs.openSync(path.join(work, "chain.log"), "a");
    this.#chain = spawn("node", [path.join(here, "chain.mjs"), chain, "--rest-port", String(chainPort)], {
      env: { ...process.env, ...environment },
      stdio: ["ignore", log, log],
    });
    children.add(this.#chain);
    this.#chain.once("exit", (code, signal) => {
      this.chainEnded = signal ?? code;
    });
    await this.#answers();
    if (Date.now() >= genesis * 1000)
      throw new Error("the chain was not ready before its genesis: give --delay more seconds");
    const spec = (await (await fetch(`${this.url}/eth/v1/config/spec`)).json()).data;
    this.clock = new Clock(genesis * 1000, slotSeconds * 1000, Number(spec.SLOTS_PER_EPOCH));
    this.networkFile = path.join(work, "network.toml");
    writeNetworkFile(this.networkFile, slotSeconds);
    const peerPorts = ports.slice(1, 1 + count);
    const beaconPorts = ports.slice(1 + count, 1 + 2 * count);
    const { islands } = this.settings;
    if (islands) {
      this.#islands = new Islands(path.join(work, "islands"), peerPorts, beaconPorts, islands.reachable);
      await this.#islands.open();
    }
    for (const [place, name] of folders.entries()) {
      const folder = path.join(work, name);
      copyFolder(path.join(ceremony, name), folder);
      const further = furtherPorts.slice(place * (nodes - 1), (place + 1) * (nodes - 1));
      const nodePorts = [beaconPorts[place], ...further];
      this.operators.push(await this.#operator(name, folder, place, peerPorts, nodePorts, pagePorts[place]));
    }
  }

  #spare;

  async #operator(name, folder, place, peerPorts, nodePorts, pagePort) {
    const chain = Number(new URL(this.url).port);
    const proxies = nodePorts.map(
      (port, number) => new Proxy(chain, number === 0 ? (this.#islands?.beaconSocket(place) ?? port) : port),
    );
    await Promise.all(proxies.map((proxy) => proxy.open()));
    return new Operator(
      {
        name,
        program: this.settings.liars?.get(place) ?? this.settings.program,
        folder,
        log: path.join(this.work, `${path.basename(folder)}.log`),
        port: peerPorts[place],
        beacons: nodePorts.map((port) => `http://127.0.0.1:${port}`),
        proxies,
        peers: peerPorts.filter((_, other) => other !== place),
        networkFile: this.networkFile,
        wrap: this.#islands?.wrap(place),
        // Nobody outside reaches a page in a network namespace.
        page: this.#islands ? null : `127.0.0.1:${pagePort}`,
        environment: this.settings.environment?.(place, this.settings.slotSeconds),
      },
      this.clock,
    );
  }

  /** A second process with an operator's folder, copied from the ceremony's results, on ports of its own. */
  async twinOf(operator) {
    const folder = path.join(this.work, `${operator.name}-twin`);
    copyFolder(path.join(this.settings.ceremony, operator.name), folder);
    const [port, beacon] = this.#spare.splice(0, 2);
    const proxy = new Proxy(Number(new URL(this.url).port), beacon);
    await proxy.open();
    const { program, peers } = operator.settings;
    const log = path.join(this.work, `${operator.name}-twin.log`);
    const nodes = { proxies: [proxy], beacons: [proxy.url] };
    const settings = { program, peers, name: `${operator.name}'s twin`, folder, log, port, ...nodes };
    this.twin = new Operator({ ...settings, networkFile: this.networkFile }, this.clock);
    return this.twin;
  }

  /** Cuts an operator off from all others, its beacon node stays; or joins it again. */
  cut(operator, isCut = true) {
    operator.note(isCut ? "is cut off" : "is joined again");
    return this.#islands.cut(this.operators.indexOf(operator), isCut);
  }

  async #answers() {
    for (let tries = 0; tries < 200 && this.chainEnded === undefined; tries++) {
      try {
        if ((await fetch(`${this.url}/eth/v1/beacon/genesis`)).ok) return;
      } catch {
        // not yet
      }
      await new Promise((done) => setTimeout(done, 100));
    }
    throw new Error(`the chain does not start; see ${path.join(this.work, "chain.log")}`);
  }

  /** Ends everything that was started, at once. */
  end() {
    for (const operator of [...this.operators, ...(this.twin ? [this.twin] : [])]) operator.killNow();
    this.#islands?.end();
    endChildren();
  }
}
