#!/usr/bin/env node
// Plays one scenario on a development beacon chain and lets the chain judge it. See README.md.
// Exit code: 0 all duties done, 1 not, 2 it could not be played, 77 this machine cannot play it.

import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Devnet, holdCeremony } from "./lib/devnet.mjs";
import { groupTimes, leaderTimes, ownTimes, spread, table, timesByLeader } from "./lib/figures.mjs";
import { judge } from "./lib/judge.mjs";
import { leaderOfHead, scenarios } from "./scenarios.mjs";

const options = {
  program: { type: "string", default: process.env.CONCLAVE_BIN },
  adversary: { type: "string", default: process.env.CONCLAVE_ADVERSARY },
  ceremony: { type: "string" },
  operators: { type: "string", default: "4" },
  threshold: { type: "string", default: "3" },
  validators: { type: "string", default: "4" },
  epochs: { type: "string" },
  fork: { type: "string", default: "fulu" },
  upgrade: { type: "string" },
  preset: { type: "string", default: "minimal" },
  "slot-seconds": { type: "string", default: "4" },
  delay: { type: "string", default: "25" },
  "leave-out": { type: "string", multiple: true, default: [] },
  "group-within": { type: "string" },
  "memory-within": { type: "string" },
  out: { type: "string" },
  names: { type: "boolean" },
};

function usage(why) {
  console.error(why);
  console.error("usage: scenario.mjs NAME --program CONCLAVE [--epochs 4] [...see README.md]\nscenarios:");
  for (const [name, { about }] of Object.entries(scenarios)) console.error(`  ${name.padEnd(18)} ${about}`);
  process.exit(2);
}

let parsed;
try {
  parsed = parseArgs({ allowPositionals: true, options });
} catch (error) {
  usage(error.message);
}
const { values, positionals } = parsed;
if (values.names) {
  console.log(Object.keys(scenarios).join("\n"));
  process.exit(0);
}
const [name] = positionals;
const scenario = scenarios[name];
if (!scenario) usage(name ? `there is no scenario ${name}` : "no scenario named");
if (!values.program) usage("name conclave's program with --program or CONCLAVE_BIN");
const impossible = scenario.impossible?.(values);
if (impossible) {
  console.log(`${name}: not played: ${impossible}`);
  process.exit(77);
}

const epochs = Math.max(Number(values.epochs ?? 4), scenario.epochs ?? 1);
const work = values.out ?? fs.mkdtempSync(path.join(os.tmpdir(), "conclave-devnet-"));
fs.mkdirSync(work, { recursive: true });
let devnet;
process.on("exit", () => devnet?.end());
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));

try {
  const passed = await play();
  // What was named stays, for a look at the logs.
  if (passed && !values.out) fs.rmSync(work, { recursive: true, force: true });
  else console.log(`logs and folders: ${work}`);
  process.exit(passed ? 0 : 1);
} catch (error) {
  console.error(`${name}: could not be played: ${error.stack ?? error}\nlogs and folders: ${work}`);
  process.exit(2);
}

async function play() {
  const slotSeconds = Number(values["slot-seconds"]);
  // What needs a group of its own cannot use a ceremony that was held for others.
  let ceremony = scenario.threshold ? undefined : values.ceremony;
  if (!ceremony) {
    ceremony = path.join(work, "ceremony");
    const threshold = scenario.threshold ?? values.threshold;
    const size = { operators: values.operators, threshold, validators: values.validators };
    await holdCeremony({ program: values.program, ...size, out: ceremony });
  }
  const { program, fork, upgrade, preset } = values;
  const chain = { fork, upgrade, preset, slotSeconds, delay: Number(values.delay) };
  progress("starting the chain");
  const { islands, environment, nodes, first } = scenario;
  const liars = new Map((scenario.liars ?? []).map((place) => [place, values.adversary]));
  devnet = new Devnet({ program, liars, ceremony, work, ...chain, islands, environment, nodes, first });
  await devnet.begin();
  const { clock, operators } = devnet;
  console.log(
    `${name}: ${scenario.about}\n${devnet.threshold} of ${operators.length} operators, ${devnet.pubkeys.length} validators, ` +
      `${preset} preset, ${fork}${upgrade ? `, upgrade ${upgrade}` : ""}, slots of ${slotSeconds} s, ` +
      `epochs 0 to ${epochs - 1}, chain ${devnet.url}`,
  );
  for (const operator of operators) operator.start();
  const pages = operators.filter(({ page }) => page).map(({ name, page }) => `${name} ${page}`);
  progress(`the operators open their keystores; slot 0 begins in ${Math.ceil((clock.time(0) - Date.now()) / 1000)} s`);
  if (pages.length > 0) progress(`look at them while it runs: ${pages.join(", ")}`);
  const ready = await operators[0].until(
    () => operators.every((operator) => operator.said(/^Signs from slot/)) || operators.some(({ alive }) => !alive),
    clock.time(0.9) - Date.now(),
  );
  for (const { name, alive, ended } of operators) if (!alive) throw new Error(`${name} ended with ${ended} at once`);
  if (!ready)
    throw new Error("not all operators sign when the chain begins: give --delay more seconds, or see their logs");

  const last = epochs * clock.slotsPerEpoch - 1;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const begins = epoch * clock.slotsPerEpoch;
    const left = Math.ceil(((last + 2 - begins) * clock.slotMs) / 1000);
    clock.atSlot(begins).then(() => progress(`epoch ${epoch} of ${epochs} begins; ${left} s left`));
  }
  const checks = await scenario.play(devnet, epochs);
  await clock.atSlot(last + 1.95);
  progress("asking the operators to stop, and the chain for its verdict");
  const verdict = await judge(devnet.url, devnet.pubkeys, 1, last);
  const memory = operators.map((operator) => operator.memory()).filter((size) => size !== null);
  checks.push(...(await stopAll()));
  return show(verdict, memory, checks);
}

/** For whoever waits: what is going on. The verdict alone goes to standard output. */
function progress(text) {
  console.error(`${new Date().toTimeString().slice(0, 8)} ${name}: ${text}`);
}

/** Asks all operators to stop: they must, in order, within two slots. */
async function stopAll() {
  const { clock, operators } = devnet;
  const gone = new Set(scenario.stopped);
  const here = operators.filter((_, place) => !gone.has(place));
  const alive = here.map((operator) => operator.alive);
  const ends = await Promise.all(here.map((operator) => operator.stop("SIGINT", 2 * clock.slotMs)));
  return here.map((operator, i) => [
    alive[i] && ends[i] === 0,
    alive[i]
      ? `${operator.name} stops when asked: exit code ${ends[i]}`
      : `${operator.name} ran to the end: it ended with ${ends[i]}`,
  ]);
}

function show({ duties, report, validators }, memory, checks) {
  const { clock } = devnet;
  const left = new Set(values["leave-out"]);
  const counted = duties.filter(({ kind }) => !left.has(kind));
  for (const duty of counted) duty.excused = !duty.ok && Boolean(scenario.excuses?.(duty.slot, clock));
  const kinds = ["attestation", "proposal", "sync committee"].filter((kind) => !left.has(kind));
  const rows = [];
  for (let epoch = 0; epoch < epochs; epoch++) {
    const of = counted.filter(({ slot }) => Math.floor(slot / clock.slotsPerEpoch) === epoch);
    const done = (kind) => {
      const all = of.filter((duty) => duty.kind === kind);
      return `${all.filter(({ ok }) => ok).length}/${all.length}`;
    };
    rows.push([epoch, ...kinds.map(done), of.filter(({ excused }) => excused).length]);
  }
  console.log(`\n${table(["epoch", ...kinds, "excused"], rows)}`);

  const missed = counted.filter(({ ok, excused }) => !ok && !excused);
  for (const { kind, slot, validator, why } of missed.slice(0, 40))
    console.log(`MISSED  slot ${slot}: ${kind} of ${validator}: ${why}`);
  const ours = ({ validator }) => validators.has(Number(validator)) || validator === "?";
  const refused = report.refused.filter(ours);
  const slashable = report.slashable.filter(ours);
  for (const { slot, what, validator, why } of refused.slice(0, 20))
    console.log(`REFUSED  slot ${slot}: ${what} of ${validator}: ${why}`);
  for (const { slot, what, validator } of slashable) console.log(`SLASHABLE  slot ${slot}: ${what} by ${validator}`);

  const into = (kind) => (report.arrivals[kind] ?? []).filter(([slot]) => slot > 0).map(([, , ms]) => ms);
  const arrivals = ["block", "attestation", "sync message", "aggregate", "contribution"];
  console.log(
    `\n${table(
      ["arrived at the chain, ms into the slot", "count", "half", "9 of 10", "last"],
      arrivals.map((kind) => [kind, ...spread(into(kind))]),
    )}`,
  );
  const own = ownTimes(devnet.operators);
  console.log(
    `\n${table(
      ["by the operators' own lines, ms it took", "count", "half", "9 of 10", "last"],
      Object.keys(own)
        .sort()
        .map((what) => [what, ...spread(own[what])]),
    )}`,
  );
  const leader = (slot) => leaderOfHead(slot, devnet.operators.length);
  const group = groupTimes(devnet.operators, clock, leader);
  const byLeaders = leaderTimes(devnet.operators, leader);
  console.log(
    `\n${table(
      ["from the leader's answer to the group's attestations, ms", "count", "half", "9 of 10", "last"],
      [
        ["signed, by the leader's own clock", ...spread(byLeaders)],
        ["arrived at a beacon node", ...spread(group)],
      ],
    )}`,
  );
  console.log(
    `\n${table(
      ["in memory at the end, MiB", "count", "half", "9 of 10", "last"],
      [["operators", ...spread(memory)]],
    )}`,
  );
  const led = timesByLeader(devnet.operators, leader, clock.slotsPerEpoch);
  console.log(
    `\n${table(
      ["attestations signed, ms after they were due, from epoch 1 on, led by", "count", "half", "9 of 10", "last"],
      devnet.operators.map(({ name }, place) => [name, ...spread(led[place])]),
    )}\n`,
  );

  const work = ["attestation", "aggregate", ...(left.has("proposal") ? [] : ["block"]), "sync message", "contribution"];
  const all = [
    [
      missed.length === 0,
      `every duty done, on time and right: ${counted.filter(({ ok }) => ok).length} of ${counted.length}`,
    ],
    [work.every((kind) => into(kind).length > 0), `the operators did something: ${work.join(", ")}`],
    [slashable.length === 0, `nothing slashable: ${slashable.length}`],
    [refused.length === 0, `nothing refused: ${refused.length}`],
    ...checks,
    ...figures(byLeaders, memory),
  ];
  for (const [ok, text] of all) console.log(`${ok ? "ok  " : "FAIL"}  ${text}`);
  const passed = all.every(([ok]) => ok);
  console.log(`${name}: ${passed ? "PASS" : "FAIL"}`);
  return passed;
}

/** Checks of what was asked for with `--group-within` and `--memory-within`. */
function figures(times, memory) {
  const checks = [];
  const most = (option, [count, figure], text) => {
    const limit = values[option];
    if (limit) checks.push([count > 0 && figure <= Number(limit), `${text}: ${figure}, at most ${limit}`]);
  };
  const [count, half] = spread(times);
  most("group-within", [count, half], "half of the group's attestations were signed within so many ms");
  const [operators, , , last] = spread(memory);
  most("memory-within", [operators, last], "MiB in memory");
  return checks;
}
