// One operator: a folder from the ceremony, a process, what it said, and the proxies in front of its beacon nodes.

import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import readline from "node:readline";

/** The code with which `conclave run` ends when it was shown a twin. */
export const EXIT_TWIN = 11;

export class Operator {
  #settings;
  #clock;
  #child = null;
  #log;
  /** Every line said since the first start: `{ at, run, text }`, `at` in ms since 1970, `run` from 1. */
  lines = [];
  runs = 0;
  /** How the last process ended: a number, the name of a signal, or null while it runs. */
  ended = null;

  /**
   * `settings`: name, program, folder, log, port, beacons (addresses), proxies, peers (ports), page (address at which it shows what it does, or
   * null), networkFile, environment, wrap (words before the program)
   */
  constructor(settings, clock) {
    this.#settings = settings;
    this.#clock = clock;
    this.#log = fs.createWriteStream(settings.log, { flags: "a" });
  }

  get settings() {
    return this.#settings;
  }
  get name() {
    return this.#settings.name;
  }
  get folder() {
    return this.#settings.folder;
  }
  /** In front of its beacon nodes, in the order in which they are listed. */
  get proxies() {
    return this.#settings.proxies;
  }
  /** In front of the first one. */
  get proxy() {
    return this.proxies[0];
  }
  /** The address of the page that shows what it does; nothing if there is none. */
  get page() {
    return this.#settings.page && `http://${this.#settings.page}/`;
  }
  get alive() {
    return this.#child !== null;
  }

  /** What the process has in memory, MiB; nothing if there is none, or no way to know. */
  memory() {
    try {
      const status = fs.readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)[1]) / 1024;
    } catch {
      return null;
    }
  }

  /** `more`: of the environment, for this process only. */
  start(more = {}) {
    const { program, folder, port, beacons, peers, page, networkFile, environment = {}, wrap = [] } = this.#settings;
    const words = [
      ...wrap,
      program,
      ...["--data-dir", folder, "run", ...beacons.flatMap((beacon) => ["--beacon-node", beacon])],
      ...["--listen", `/ip4/127.0.0.1/tcp/${port}`],
      ...peers.flatMap((peer) => ["--peer", `/ip4/127.0.0.1/tcp/${peer}`]),
      ...["--network-file", networkFile],
    ];
    this.runs += 1;
    this.ended = null;
    this.note(`started: ${words.join(" ")}`);
    const env = {
      PATH: process.env.PATH,
      HOME: folder,
      RUST_LOG: "info",
      RUST_BACKTRACE: "1",
      NO_COLOR: "1",
      CONCLAVE_MONITORING_ADDRESS: page ?? "none",
      ...environment,
      ...more,
    };
    const child = spawn(words[0], words.slice(1), { env, stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr])
      readline.createInterface({ input: stream }).on("line", (text) => this.#said(text));
    child.once("error", (error) => this.#gone(child, error.message));
    child.once("exit", (code, signal) => this.#gone(child, signal ?? code));
  }

  /** Ends the process with a signal and waits for its end, ten seconds at most. */
  async stop(signal = "SIGKILL", patience = 10_000) {
    const child = this.#child;
    if (!child) return this.ended;
    this.note(`gets ${signal}`);
    child.kill(signal);
    await this.until(() => this.#child !== child, patience);
    if (this.#child === child) {
      this.note(`does not end within ${patience} ms and is killed`);
      child.kill("SIGKILL");
      await this.until(() => this.#child !== child, 5000);
      return "too late";
    }
    return this.ended;
  }

  /** Runs another command in this operator's folder; how it ended, and all that it said. */
  async command(...words) {
    const { program, folder } = this.#settings;
    this.note(`command: ${words.join(" ")}`);
    const child = spawn(program, ["--data-dir", folder, ...words], { stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (text += part));
    const code = await new Promise((done) => child.once("close", (code, signal) => done(signal ?? code)));
    for (const line of text.trimEnd().split("\n")) this.#write(`    ${line}`);
    return { code, text };
  }

  /** At once, when the harness itself ends. */
  killNow() {
    this.#child?.kill("SIGKILL");
  }

  /** Whether the present process said something like this. */
  said(pattern) {
    return this.lines.some(({ run, text }) => run === this.runs && pattern.test(text));
  }

  /** What a pattern finds in the lines of the present process, the first time. */
  found(pattern) {
    return this.lines
      .filter(({ run }) => run === this.runs)
      .map(({ text }) => pattern.exec(text))
      .find(Boolean);
  }

  /** Whether any process said something like this since a time. */
  saidSince(at, pattern) {
    return this.lines.some((line) => line.at >= at && pattern.test(line.text));
  }

  /** Waits until it is so, or as long as it has patience; says whether it became so. */
  async until(isSo, patience) {
    for (const end = Date.now() + patience; Date.now() < end; ) {
      if (isSo()) return true;
      await new Promise((done) => setTimeout(done, 50));
    }
    return isSo();
  }

  note(text) {
    this.#write(`--- ${text}`);
  }

  #said(text) {
    this.lines.push({ at: Date.now(), run: this.runs, text });
    this.#write(text);
  }

  #gone(child, how) {
    if (this.#child !== child) return;
    this.#child = null;
    this.ended = how;
    this.note(`ended: ${how}`);
  }

  #write(text) {
    this.#log.write(`${this.#clock.stamp()}  ${text}\n`);
  }
}

/** Copies an operator's folder, as a careless backup does. */
export function copyFolder(from, to) {
  fs.rmSync(to, { recursive: true, force: true });
  fs.mkdirSync(path.dirname(to), { recursive: true });
  fs.cpSync(from, to, { recursive: true, preserveTimestamps: true });
}
