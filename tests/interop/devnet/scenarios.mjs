// What can happen to a group of operators. Each scenario: what it shows, what it needs, the script that makes it happen,
// which duties it excuses (none unless it says so), and what else must be true at the end.
//
// A script gets the devnet and the number of epochs that are judged, and ends when nothing more is to happen.

import fs from "node:fs";
import path from "node:path";
import { FailingDisk } from "./lib/disk.mjs";
import { Islands } from "./lib/islands.mjs";
import { copyFolder, EXIT_TWIN } from "./lib/operator.mjs";

const FAKETIME = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
  .map((machine) => `/usr/lib/${machine}/faketime/libfaketime.so.1`)
  .find((file) => fs.existsSync(file));

/** Starts an operator again and waits until it signs: at once if all others confirm, else from the epoch that it names. */
async function back(devnet, operator) {
  operator.start();
  const { clock } = devnet;
  const signs = () => operator.said(/signing from now on/);
  await operator.until(() => signs() || !operator.alive, 3 * clock.slotMs * clock.slotsPerEpoch);
  if (!signs() || !operator.alive) throw new Error(`${operator.name} does not come back: ended ${operator.ended}`);
}

const NO_ISLANDS = "needs the right to make user and network namespaces";

const one = (devnet, number) => devnet.operators[number % devnet.operators.length];

/** Kills one operator after the other, one an epoch, each only when all are back. */
async function killedInTurn(devnet, epochs, operators = devnet.operators) {
  const { clock } = devnet;
  let killed = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    await clock.at(epoch, 1.4);
    if (clock.slot >= (epoch + 1) * clock.slotsPerEpoch) continue; // the last one took longer than an epoch
    const operator = operators[(epoch + 1) % operators.length];
    await operator.stop("SIGKILL");
    killed += 1;
    await clock.at(epoch, Math.ceil(clock.slotsPerEpoch / 2));
    await back(devnet, operator);
  }
  return [[killed >= Math.min(2, epochs), `operators were killed one after the other: ${killed}`]];
}

/** One operator's beacon node is bad for most of an epoch, the next one's in the next epoch. */
const badNode = (what, wishes) => ({
  about: `one operator's beacon node ${what}, another operator's in each epoch`,
  async play(devnet, epochs) {
    const { clock } = devnet;
    for (let epoch = 0; epoch < epochs; epoch++) {
      const { proxy, name } = one(devnet, epoch + 1);
      await clock.at(epoch, epoch === 0 ? 0.9 : -0.1);
      console.log(`slot ${clock.slot}: the beacon node of ${name} ${what}`);
      await proxy.set(wishes(clock));
      await clock.at(epoch, clock.slotsPerEpoch - 2.1);
      await proxy.set();
    }
    return [];
  },
});

/** The operator that leads a slot's agreement on the head, counted from 0. */
export const leaderOfHead = (slot, operators) => (slot + HEAD) % operators;
const HEAD = 1; // the number of that kind of agreement

const NO_FAILING_DISK = "needs Linux and a C compiler";

/** What an operator's database says that its shares have signed: by public key, the highest `{ slot, target }`. */
async function exported(operator, work) {
  const file = path.join(work, `history-${operator.runs}.json`);
  fs.rmSync(file, { force: true });
  const { code, text } = await operator.command("slashing-protection", "export", file);
  if (code !== 0) throw new Error(`the slashing protection of ${operator.name} cannot be read: ${text}`);
  const highest = (list, field) => Math.max(-1, ...list.map((message) => Number(message[field])));
  const { data } = JSON.parse(fs.readFileSync(file, "utf8"));
  return new Map(
    data.map(({ pubkey, signed_blocks, signed_attestations }) => [
      pubkey,
      { slot: highest(signed_blocks, "slot"), target: highest(signed_attestations, "target_epoch") },
    ]),
  );
}

const lower = (now, before) =>
  [...before].filter(([key, { slot, target }]) => !(now.get(key)?.slot >= slot && now.get(key)?.target >= target)).length;

/** What came to the chain, all of which needed every operator's share, and is not in this operator's database. */
async function forgotten(devnet, history) {
  const get = async (what) => (await fetch(devnet.url + what)).json();
  const ids = devnet.pubkeys.map((key) => `id=${key}`).join("&");
  const { data } = await get(`/eth/v1/beacon/states/head/validators?${ids}`);
  const keys = new Map(data.map(({ index, validator }) => [Number(index), validator.pubkey]));
  const { arrivals } = await get("/oracle/report");
  const ours = (kind) => (arrivals[kind] ?? []).filter(([, validator]) => keys.has(Number(validator)));
  const epoch = (slot) => Math.floor(slot / devnet.clock.slotsPerEpoch);
  const attested = ours("attestation");
  const unknown = [
    ...attested.filter(([slot, validator]) => !(history.get(keys.get(Number(validator)))?.target >= epoch(slot))),
    ...ours("block").filter(([slot, validator]) => !(history.get(keys.get(Number(validator)))?.slot >= slot)),
  ];
  return { attested: attested.length, unknown: unknown.length };
}

/**
 * One operator, without whom nothing is signed, gets a disk that does something at one write after the other, and then comes
 * back with a sound one. `fault`: what the disk does from the nth write on; `count`: which writes count; `judge`: checks a
 * process that had it, gives what is wrong.
 */
const failingDisk = (about, { count, fault, judge }) => ({
  about,
  threshold: 4, // of four: whatever the chain gets bears this operator's share
  impossible: () => !FailingDisk.possible() && NO_FAILING_DISK,
  excuses: () => true,
  async play(devnet, epochs) {
    const { clock, work } = devnet;
    const disk = new FailingDisk(work);
    const operator = one(devnet, 1);
    const end = clock.time(epochs * clock.slotsPerEpoch - 8);
    await clock.atSlot(2.4);
    // How many there are from the start to what is written in the second slot of signing.
    await operator.stop("SIGKILL");
    operator.start(disk.environment(operator.folder));
    await operator.until(() => operator.said(/signing from now on/), 8 * clock.slotMs);
    await new Promise((done) => setTimeout(done, 2 * clock.slotMs));
    const most = disk.counted()[count];
    await operator.stop("SIGKILL");
    let before = await exported(operator, work);
    const wrong = [];
    const tried = [];
    // In an order that comes everywhere soon.
    for (let i = 1; Date.now() < end; i++) {
      const at = 1 + (Math.round(i * 0.618034 * most) % most);
      tried.push(at);
      operator.note(`the disk: ${JSON.stringify(fault(at))}`);
      operator.start(disk.environment(operator.folder, fault(at)));
      const problem = await judge(operator, clock);
      if (problem) wrong.push(`at ${at}: ${problem}`);
      await operator.stop("SIGKILL");
      const saidNothing = operator.ended === "SIGKILL" && operator.said(/^Signs from slot/);
      const after = await exported(operator, work);
      if (lower(after, before) > 0) wrong.push(`at ${at}: the database has forgotten something`);
      before = after;
      operator.start();
      const signs = await operator.until(() => operator.said(/signing from now on/) || !operator.alive, 8 * clock.slotMs);
      if (!signs || !operator.alive) wrong.push(`at ${at}: it does not sign again`);
      if (saidNothing && !operator.said(/the last run in this folder did not end by itself/))
        wrong.push(`at ${at}: the start does not say what happened`);
      await new Promise((done) => setTimeout(done, 1.5 * clock.slotMs));
      await operator.stop("SIGKILL");
      before = await exported(operator, work);
    }
    const { attested, unknown } = await forgotten(devnet, before);
    operator.start();
    await operator.until(() => operator.said(/signing from now on/), 8 * clock.slotMs);
    for (const text of wrong) console.log(`WRONG  ${text}`);
    return [
      [tried.length > 0, `of ${most} places the disk was tried at: ${tried.join(", ")}`],
      [wrong.length === 0, `each start said what happened, signed again, and forgot nothing: ${wrong.length} did not`],
      [attested > 0 && unknown === 0, `of ${attested} votes, and blocks, that came to the chain, not in the database: ${unknown}`],
    ];
  },
  epochs: 4,
});

export const scenarios = {
  "all-up": {
    about: "nothing happens; the group makes the chain's first block",
    first: "ours", // a block on genesis, whose execution payload is all zeros
    async play({ clock, url, pubkeys }) {
      await clock.atSlot(2.5);
      const get = async (what) => (await (await fetch(url + what)).json()).data;
      const { message } = (await get("/eth/v1/beacon/headers/1"))?.header ?? {};
      const ids = message ? await get(`/eth/v1/beacon/states/head/validators?id=${message.proposer_index}`) : [];
      const ours = pubkeys.includes(ids[0]?.validator.pubkey);
      return [[ours, `the block of slot 1 is the group's, and built on genesis: ${ours}`]];
    },
  },
  "one-killed": {
    about: "one operator is killed in each epoch, the next one not before the last one is back",
    play: (devnet, epochs) => killedInTurn(devnet, epochs),
  },
  "one-reachable": {
    about: "nobody but the first operator can be called by the others, of whom one is killed in each epoch",
    impossible: () => !Islands.possible() && NO_ISLANDS,
    islands: { reachable: [0] },
    play: (devnet, epochs) => killedInTurn(devnet, epochs, devnet.operators.slice(1)),
  },
  "one-off": {
    about: "one operator is killed in the first epoch and never comes back",
    async play(devnet) {
      await devnet.clock.atSlot(1.4);
      await one(devnet, 1).stop("SIGKILL");
      return [];
    },
    stopped: [1],
  },
  "two-killed": {
    about: "two operators are killed together and come back: nothing slashable, on duty in the epoch after next",
    async play(devnet) {
      const { clock } = devnet;
      const gone = [one(devnet, 1), one(devnet, 2)];
      await clock.at(1, 1.4);
      await Promise.all(gone.map((operator) => operator.stop("SIGKILL")));
      await clock.at(1, Math.ceil(clock.slotsPerEpoch / 2));
      await Promise.all(gone.map((operator) => back(devnet, operator)));
      return [];
    },
    excuses: (slot, { slotsPerEpoch }) => slot >= slotsPerEpoch && slot < 3 * slotsPerEpoch,
    epochs: 4,
  },
  "leader-cut-off": {
    about: "in every second slot, whoever leads the agreement on the head is cut off from the others for that slot",
    impossible: () => !Islands.possible() && NO_ISLANDS,
    islands: {},
    async play(devnet, epochs) {
      const { clock } = devnet;
      for (let slot = 2; slot < epochs * clock.slotsPerEpoch; slot += 2) {
        const leader = devnet.operators[leaderOfHead(slot, devnet.operators.length)];
        await clock.atSlot(slot - 0.08);
        await devnet.cut(leader);
        await clock.atSlot(slot + 0.6);
        await devnet.cut(leader, false);
      }
      return [];
    },
  },
  "node-bare": {
    about: "no beacon node says of which fork and kind its blocks are, and all of them have null for what they may leave out",
    async play(devnet, epochs) {
      const { clock, operators } = devnet;
      await Promise.all(operators.map(({ proxy }) => proxy.set({ bare: true })));
      await clock.at(epochs - 1, clock.slotsPerEpoch - 0.5);
      const told = operators.filter((operator) => operator.said(/its answer with a block lacks something/));
      return [[told.length > 0, `operators who were told in the slot what was wrong with a block: ${told.length}`]];
    },
  },
  "builders-slow": {
    about: "every beacon node needs longer to make a block than operators wait for the first proposal",
    async play(devnet) {
      const { clock, operators } = devnet;
      // The wait is a sixth of a slot; what is late by more than the second one's is late for attestations, too.
      await Promise.all(operators.map(({ proxy }) => proxy.set({ building: clock.slotMs / 5 })));
      return [];
    },
  },
  "two-nodes": {
    about: "every operator has two beacon nodes, of which the one that is listed first gets each block a little later",
    nodes: 2,
    async play(devnet) {
      const { clock, operators } = devnet;
      await Promise.all(operators.map(({ proxy }) => proxy.set({ behind: clock.slotMs / 12 })));
      return [];
    },
  },
  "teller-hangs": {
    about: "every operator has two beacon nodes; the one that is first with each block never says what to attest to",
    nodes: 2,
    async play(devnet) {
      const { clock, operators } = devnet;
      const mute = "/eth/v1/validator/attestation_data";
      await Promise.all(
        operators.map(({ proxies }) =>
          Promise.all([proxies[0].set({ behind: clock.slotMs / 12 }), proxies[1].set({ mute })]),
        ),
      );
      return [];
    },
  },
  "node-lags": badNode("answers late", ({ slotMs }) => ({ lag: slotMs * 0.4 })),
  "node-older-head": badNode("names an older head", () => ({ head: "older" })),
  "node-unknown-head": badNode("names a head that nobody knows", () => ({ head: "unknown" })),
  "node-503": badNode("answers 503", () => ({ status: 503 })),
  "node-rubbish": badNode("answers rubbish", () => ({ rubbish: true })),
  "node-silent": badNode("never answers", () => ({ silent: true })),
  "node-gone": badNode("is gone", () => ({ gone: true })),
  "node-late-events": badNode("tells events late", ({ slotMs }) => ({ events: slotMs / 2 })),
  "clocks-apart": {
    about: "the operators' clocks are apart by a sixth of a slot",
    impossible: () => !FAKETIME && "needs libfaketime",
    environment(place, slotSeconds) {
      const shift = (((place % 4) - 1.5) / 3) * (slotSeconds / 6);
      return {
        LD_PRELOAD: FAKETIME,
        FAKETIME: `${shift < 0 ? "" : "+"}${shift.toFixed(3)}`,
        FAKETIME_DONT_FAKE_MONOTONIC: "1",
        NO_FAKE_STAT: "1",
      };
    },
    async play() {
      return [];
    },
  },
  twin: {
    about: "one operator runs twice, from a copied folder: both stop, the others go on",
    async play(devnet) {
      const { clock } = devnet;
      const operator = one(devnet, 1);
      await clock.at(1, 1.4);
      const twin = await devnet.twinOf(operator);
      twin.start();
      const both = [operator, twin];
      await operator.until(() => both.every(({ alive }) => !alive), clock.slotMs * clock.slotsPerEpoch);
      await Promise.all(both.map((process) => process.stop("SIGKILL")));
      return both.map((process) => [
        process.ended === EXIT_TWIN,
        `${process.name} stopped because of its twin: exit code ${process.ended}`,
      ]);
    },
    stopped: [1],
  },
  adversary: {
    about: "one operator lies in every step: two proposals, votes both ways, wrong signatures, other blocks",
    impossible: ({ adversary }) =>
      !adversary && "needs the program of the liar: --adversary FILE (cargo build --example adversary)",
    liars: [1],
    async play(devnet, epochs) {
      const { clock } = devnet;
      const liar = one(devnet, 1);
      await clock.atSlot(epochs * clock.slotsPerEpoch - 0.5);
      const honest = devnet.operators.filter((operator) => operator !== liar);
      return [
        [liar.alive, `${liar.name} lied to the end`],
        ...honest.map((operator) => [
          operator.said(new RegExp(`${liar.name}.*(two|sign|wrong|broke)`)),
          `${operator.name} says who it was`,
        ]),
      ];
    },
  },
  restored: {
    about: "one operator's slashing protection is restored from an older copy: it notices, and signs nothing twice",
    async play(devnet) {
      const { clock } = devnet;
      const operator = one(devnet, 1);
      const file = path.join(operator.folder, "slashing-protection.redb");
      await clock.at(0, clock.slotsPerEpoch - 1.5);
      await operator.stop("SIGKILL");
      fs.copyFileSync(file, `${file}-older`);
      await back(devnet, operator);
      await clock.at(2, 1.4);
      await operator.stop("SIGKILL");
      fs.renameSync(`${file}-older`, file);
      operator.start();
      const since = Date.now();
      const noticed = await operator.until(
        () => operator.saidSince(since, /this folder is an old copy/),
        clock.slotMs * clock.slotsPerEpoch,
      );
      return [[noticed, "the operator says that its disk has forgotten signatures"]];
    },
    epochs: 4,
  },
  "disk-fills": failingDisk("one operator's disk is full from one write on, at one write after the other", {
    count: "writes",
    fault: (at) => ({ full: at }),
    async judge(operator, clock) {
      const told = /the slashing protection fails|No space left on device/;
      const isTold = await operator.until(() => operator.said(told) || !operator.alive, 8 * clock.slotMs);
      if (!isTold && operator.alive) return "it goes on and says nothing";
      if (operator.alive) {
        // What it does then it does for a slot or two.
        await new Promise((done) => setTimeout(done, 2 * clock.slotMs));
        return operator.alive ? null : `it ended later, with ${operator.ended}`;
      }
      if (![1, 7].includes(operator.ended)) return `it ended with ${operator.ended}`;
      return operator.said(told) ? null : "it ended and did not say why";
    },
  }),
  "killed-at-each-write": failingDisk("one operator is killed at one write after the other, each half done", {
    count: "all",
    fault: (at) => ({ kill: at }),
    async judge(operator, clock) {
      await operator.until(() => !operator.alive, 10 * clock.slotMs);
      if (operator.alive) return "it was not killed";
      return operator.ended === "SIGKILL" ? null : `it ended with ${operator.ended}`;
    },
  }),
  exit: {
    about: "three operators, never all there at once, consent to the exit of a validator: the chain lets it go",
    async play(devnet) {
      const { clock, operators, pubkeys } = devnet;
      const [first, second, third, other] = operators;
      const key = pubkeys[0];
      const checks = [];
      const consents = async (operator, part) => {
        const words = ["exit", "--validator", key, "--yes", "--network-file", operator.settings.networkFile];
        const { code, text } = await operator.command(...words);
        checks.push([code === 0 && text.includes(part), `${operator.name} consents: ${part}`]);
      };
      const far = "18446744073709551615";
      const exitEpoch = async () => {
        const answer = await fetch(`${devnet.url}/eth/v1/beacon/states/head/validators/${key}`);
        return (await answer.json()).data.validator.exit_epoch;
      };
      await clock.at(2, 1.4);
      await consents(first, "1 of the 3");
      const asked = () => other.said(/asks to exit validator/) && second.said(/asks to exit validator/);
      checks.push([await other.until(asked, clock.slotMs), "the others are asked"]);
      await consents(second, "2 of the 3");
      await third.until(() => third.said(/2 of the 3 that are needed consent/), clock.slotMs);
      // The first two have gone to bed, one after the other: the third knows their parts from its disk, and from them.
      await first.stop("SIGKILL");
      await third.stop("SIGKILL");
      await back(devnet, third);
      checks.push([(await exitEpoch()) === far, "two are not enough: the validator stays"]);
      await consents(third, "3 of the 3");
      const submitted = () => third.said(/A beacon node took the exit/);
      checks.push([await third.until(submitted, 2 * clock.slotMs), "the exit is signed, and the beacon node takes it"]);
      await back(devnet, first);
      const signed = () => first.said(/The group has signed the exit/);
      checks.push([await first.until(signed, 2 * clock.slotMs), "who was away learns of it"]);
      const until = Date.now() + 4 * clock.slotMs;
      while ((await exitEpoch()) === far && Date.now() < until) await new Promise((done) => setTimeout(done, 200));
      const epoch = await exitEpoch();
      checks.push([epoch !== far, `the chain lets the validator go at epoch ${epoch}`]);
      const { code, text } = await other.command(
        ...["exit", "--validator", key, "--yes", "--network-file", other.settings.networkFile],
      );
      checks.push([code === 7 && text.includes("leaving already"), "whoever asks now is told that it leaves already"]);
      checks.push([!other.said(/You consent/), "nobody's share signed without its operator's command"]);
      return checks;
    },
    excuses: (slot, { slotsPerEpoch }) => slot >= 2 * slotsPerEpoch,
    epochs: 6,
  },
  "exit-with-a-liar": {
    about: "three operators consent to an exit while the fourth floods them with wrong parts: nobody else's consent is there",
    impossible: ({ adversary }) =>
      !adversary && "needs the program of the liar: --adversary FILE (cargo build --example adversary)",
    liars: [3],
    environment: (place) => (place === 3 ? { CONCLAVE_ADVERSARY_LIES: "exits" } : {}),
    async play(devnet) {
      const { clock, operators, pubkeys } = devnet;
      const [liar] = operators.slice(3);
      const honest = operators.slice(0, 3);
      const key = pubkeys[0];
      const checks = [];
      const exitEpoch = async () => {
        const answer = await fetch(`${devnet.url}/eth/v1/beacon/states/head/validators/${key}`);
        return (await answer.json()).data.validator.exit_epoch;
      };
      const far = "18446744073709551615";
      const consented = ({ lines }) => lines.filter(({ text }) => /You consent to the exit/.test(text));
      await clock.at(2, 1.4);
      const quiet = honest.every((operator) => consented(operator).length === 0);
      checks.push([quiet, "two epochs of wrong parts get a consent out of nobody"]);
      for (const [place, operator] of honest.entries()) {
        const began = Date.now();
        const { networkFile } = operator.settings;
        const { code, text } = await operator.command(
          ...["exit", "--validator", key, "--yes", "--network-file", networkFile],
        );
        const part = `${place + 1} of the 3`;
        const took = Date.now() - began;
        checks.push([code === 0 && text.includes(part), `${operator.name} consents: ${part} (${took} ms)`]);
        if (place === 2) break;
        const next = honest[place + 1];
        const asked = () => next.said(new RegExp(`${operator.name} asks to exit validator ${key}.*: ${place + 1} of the 3`));
        checks.push([await next.until(asked, clock.slotMs), `${next.name} hears of it within a slot`]);
      }
      const signed = (operator) => operator.said(new RegExp(`The group has signed the exit of validator ${key}`));
      const all = await liar.until(() => honest.every(signed), clock.slotMs);
      checks.push([all, "the exit is signed within a slot, by everybody"]);
      const until = Date.now() + 4 * clock.slotMs;
      while ((await exitEpoch()) === far && Date.now() < until) await new Promise((done) => setTimeout(done, 200));
      const epoch = await exitEpoch();
      checks.push([epoch !== far, `the chain lets the validator go at epoch ${epoch}`]);
      await clock.at(4, 1.4);
      for (const operator of honest) {
        checks.push([
          operator.said(new RegExp(`${liar.name}: its part of an exit is wrong`)),
          `${operator.name} says who sent wrong parts`,
        ]);
        const own = consented(operator);
        const right = own.length === 1 && own[0].text.includes(key);
        checks.push([right, `${operator.name} consented once, by its own command: ${own.length}`]);
      }
      checks.push([liar.alive, `${liar.name} lied to the end`]);
      const forged = new RegExp(`${liar.name}.*passed on a part of an exit that is wrong`);
      checks.push([honest.some((operator) => operator.said(forged)), "who speaks in another's name is named, too"]);
      return checks;
    },
    epochs: 5,
  },
  "backup-restored": {
    about: "one operator's folder is lost, and restored from a backup: it waits for all others and two epochs, and signs on",
    async play(devnet) {
      const { clock } = devnet;
      const operator = one(devnet, 1);
      const { networkFile } = operator.settings;
      const beside = (name) => path.join(path.dirname(operator.folder), `${operator.name}-${name}`);
      fs.writeFileSync(beside("password"), "correct horse battery\n", { mode: 0o600 });
      const archive = ["--password-file", beside("password"), "--network-file", networkFile];
      const checks = [];
      const works = async (what, ...words) => {
        const { code } = await operator.command(...words);
        checks.push([code === 0, `${what}: exit code ${code}`]);
      };
      /** What its shares have signed, by key: the highest source, target and slot. */
      const history = async (name) => {
        await works(`its history is written (${name})`, "slashing-protection", "export", beside(name), "--network-file", networkFile);
        const { data } = JSON.parse(fs.readFileSync(beside(name)));
        const most = (list, field) => Math.max(-1, ...list.map((one) => Number(one[field])));
        return new Map(
          data.map(({ pubkey, signed_blocks, signed_attestations }) => [
            pubkey,
            [most(signed_attestations, "source_epoch"), most(signed_attestations, "target_epoch"), most(signed_blocks, "slot")],
          ]),
        );
      };
      await clock.at(1, 1.4);
      await works("a backup is made while it runs", "backup", beside("backup.age"), ...archive);
      await clock.at(2, 1.4);
      checks.push([operator.alive, "it goes on running"]);
      await operator.stop("SIGKILL");
      const before = await history("before");
      fs.rmSync(operator.folder, { recursive: true });
      await works("the backup is imported", "import", beside("backup.age"), ...archive);
      operator.start();
      await operator.until(() => !operator.alive, 10_000);
      checks.push([operator.ended === 2, `it does not start before it is said that the original is gone: exit code ${operator.ended}`]);
      // Its last lines may come after its end.
      const number = () => operator.found(/--original-is-gone ([0-9a-f]{8}), if/)?.[1];
      checks.push([await operator.until(number, 2000), `it tells the number of its restored folder: ${number()}`]);
      operator.settings.environment = { ...operator.settings.environment, CONCLAVE_ORIGINAL_IS_GONE: number() ?? "" };
      operator.start();
      const signsFrom = () => operator.found(/^Restored from a backup: .* Signs from epoch (\d+) on/)?.[1];
      await operator.until(signsFrom, 2 * clock.slotMs);
      // Once more: nothing of the wait is lost, and nothing is asked again.
      await operator.stop("SIGKILL");
      operator.settings.environment = { ...operator.settings.environment, CONCLAVE_ORIGINAL_IS_GONE: "" };
      operator.start();
      await operator.until(signsFrom, 2 * clock.slotMs);
      const now = Math.floor(clock.slot / clock.slotsPerEpoch);
      const first = Number(signsFrom());
      checks.push([first === now + 3, `all others told in epoch ${now}, and it signs from ${first} on`]);
      await clock.at(first, clock.slotsPerEpoch - 0.5);
      await operator.stop("SIGINT", 2 * clock.slotMs);
      const after = await history("after");
      const beyond = [...before].every(([key, [source, target, slot]]) => {
        const [later, newer, block] = after.get(key) ?? [];
        return later >= source && newer > target && block > slot;
      });
      checks.push([beyond, "what it signed since repeats and surrounds nothing of before"]);
      const again = [...after.values()].filter(([, target]) => target === first).length;
      checks.push([again === after.size, `it signed again in epoch ${first}: for ${again} of ${after.size} validators`]);
      return checks;
    },
    stopped: [1],
    epochs: 6,
  },
  "restored-folder": {
    about: "one operator's whole folder is as the ceremony left it, after two epochs of signing",
    async play(devnet) {
      const { clock } = devnet;
      const operator = one(devnet, 1);
      await clock.at(2, 1.4);
      await operator.stop("SIGKILL");
      copyFolder(path.join(devnet.settings.ceremony, operator.name), operator.folder);
      operator.start();
      const since = Date.now();
      const noticed = await operator.until(
        () => operator.saidSince(since, /this folder is an old copy/),
        clock.slotMs * clock.slotsPerEpoch,
      );
      return [[noticed, "the operator says that its disk has forgotten signatures"]];
    },
    epochs: 4,
  },
};
