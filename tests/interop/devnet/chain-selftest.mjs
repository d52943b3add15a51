// Shows that chain.mjs refuses what it must: node chain-selftest.mjs. It starts a chain with four keys of its own,
// sends wrong things for them, and checks each answer. About two minutes.

import { spawn, spawnSync } from "node:child_process";
import crypto from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import "./config.mjs"; // sets the preset
import { freePorts } from "./lib/ports.mjs";

const blst = (await import("@chainsafe/blst")).default;
const { getClient } = await import("@lodestar/api");
const { createBeaconConfig, chainConfigFromJson, createChainForkConfig } = await import("@lodestar/config");
const { minimalChainConfig, mainnetChainConfig } = await import("@lodestar/config/configs");
const { ssz } = await import("@lodestar/types");
const P = await import("@lodestar/params");
const { computeSigningRoot } = await import("@lodestar/state-transition");

const hex = (b) => "0x" + Buffer.from(b).toString("hex");
const secrets = Array.from({ length: 4 }, () => blst.SecretKey.fromKeygen(crypto.randomBytes(32)));
const keys = new Map(secrets.map((secret) => [hex(secret.toPublicKey().toBytes()), secret]));
const dir = fs.mkdtempSync(path.join(os.tmpdir(), "conclave-chain-"));
const [port] = await freePorts(1);
const url = `http://127.0.0.1:${port}`;
const here = path.dirname(new URL(import.meta.url).pathname);
const time = String(Math.floor(Date.now() / 1000) + 6);
const made = spawnSync("node", [
  path.join(here, "genesis.mjs"),
  dir,
  "--time",
  time,
  "--slot-seconds",
  "2",
  ...keys.keys(),
]);
if (made.status !== 0) throw new Error(String(made.stderr));
const node = spawn("node", [path.join(here, "chain.mjs"), dir, "--rest-port", String(port)], { stdio: "ignore" });
process.on("exit", () => {
  node.kill("SIGKILL");
  fs.rmSync(dir, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => process.exit(130));
while (!(await fetch(url + "/eth/v1/beacon/genesis").catch(() => null))?.ok)
  await new Promise((r) => setTimeout(r, 100));

/** Counts checks and says how each went. */
class Report {
  passed = 0;
  failed = 0;
  check(ok, what, detail = "") {
    if (ok) this.passed += 1;
    else this.failed += 1;
    console.log(`${ok ? "ok  " : "FAIL"}  ${what}${detail ? ` (${detail})` : ""}`);
    return ok;
  }
  end() {
    console.log(`${this.passed} passed, ${this.failed} failed`);
    process.exit(this.failed === 0 && this.passed > 0 ? 0 : 1);
  }
}

const raw = (await (await fetch(url + "/eth/v1/config/spec")).json()).data,
  base = process.env.LODESTAR_PRESET === "mainnet" ? mainnetChainConfig : minimalChainConfig;
const chain = {
  ...base,
  ...chainConfigFromJson(
    Object.fromEntries(Object.entries(raw).filter(([k, v]) => k in base && typeof v === "string")),
  ),
};
const g = (await (await fetch(url + "/eth/v1/beacon/genesis")).json()).data;
const config = createBeaconConfig(
  createChainForkConfig(chain),
  Uint8Array.from(Buffer.from(g.genesis_validators_root.slice(2), "hex")),
);
const api = getClient({ baseUrl: url }, { config });
const slotMs = chain.SLOT_DURATION_MS,
  t0 = Number(g.genesis_time) * 1000;
const vals = (await api.beacon.postStateValidators({ stateId: "head", validatorIds: [...keys.keys()] })).value();
const sk = new Map(vals.map((v) => [v.index, keys.get(hex(v.validator.pubkey))])),
  indices = [...sk.keys()];
const sign = (v, type, obj, slot, dom) =>
  sk
    .get(v)
    .sign(computeSigningRoot(type, obj, config.getDomain(slot, dom)))
    .toBytes();
const at = (slot, f) => new Promise((r) => setTimeout(r, Math.max(0, t0 + (slot + f) * slotMs - Date.now())));
const r = new Report();
const refused = async (what, p, words) => {
  const x = await p;
  const b = x.ok ? "accepted" : JSON.stringify((await x.error()?.message) ?? "");
  r.check(!x.ok && (!words || b.includes(words)), `${what} is refused`, b.slice(0, 120));
};
const accepted = async (what, p) => {
  const x = await p;
  r.check(x.ok, `${what} is accepted`, x.ok ? "" : String(x.error()?.message).slice(0, 160));
};
const flip = (b) => {
  const c = Uint8Array.from(b);
  c[c.length - 1] ^= 1;
  return c;
};
const edit = (type, x, patch) => ({ ...type.fromJson(type.toJson(x)), ...patch }); // a spread alone would keep the old cached root
const post = (a) => api.beacon.submitPoolAttestationsV2({ signedAttestations: [a] });

// attestations: the next duty of ours
const epoch = Math.max(1, Math.floor((Date.now() - t0) / slotMs / P.SLOTS_PER_EPOCH) + 1);
await at(epoch * P.SLOTS_PER_EPOCH, -0.5);
const duties = (await api.validator.getAttesterDuties({ epoch, indices })).value().sort((a, b) => a.slot - b.slot),
  d = duties[0],
  v = d.validatorIndex;
await at(d.slot, 0.35);
const data = (await api.validator.produceAttestationData({ committeeIndex: 0, slot: d.slot })).value();
const att = {
  committeeIndex: d.committeeIndex,
  attesterIndex: v,
  data,
  signature: sign(v, ssz.phase0.AttestationData, data, d.slot, P.DOMAIN_BEACON_ATTESTER),
};
const other = indices.find((i) => i !== v);
await refused(
  "an attestation signed by another key",
  post({ ...att, signature: sign(other, ssz.phase0.AttestationData, data, d.slot, P.DOMAIN_BEACON_ATTESTER) }),
  "bad signature",
);
await refused(
  "an attestation with the wrong domain",
  post({ ...att, signature: sign(v, ssz.phase0.AttestationData, data, d.slot, P.DOMAIN_RANDAO) }),
  "bad signature",
);
await refused(
  "an attestation with data.index 1",
  post({ ...att, data: edit(ssz.phase0.AttestationData, data, { index: 1 }) }),
  "data.index",
);
await refused("an attestation of the wrong committee", post({ ...att, committeeIndex: d.committeeIndex + 1 }));
await refused(
  "an attestation to an unknown block",
  post({ ...att, data: edit(ssz.phase0.AttestationData, data, { beaconBlockRoot: flip(data.beaconBlockRoot) }) }),
  "beacon_block_root",
);
await refused(
  "an attestation with a wrong source",
  post({
    ...att,
    data: edit(ssz.phase0.AttestationData, data, { source: { ...data.source, epoch: data.source.epoch + 1 } }),
  }),
  "source",
);
await refused(
  "an attestation with a wrong target",
  post({
    ...att,
    data: edit(ssz.phase0.AttestationData, data, { target: { ...data.target, root: flip(data.target.root) } }),
  }),
  "target",
);
await accepted("the right attestation", post(att));
await accepted("the same attestation again (a second node of the cluster)", post(att));
const prev = (await api.beacon.getBlockHeader({ blockId: "genesis" })).value();
const twin = edit(ssz.phase0.AttestationData, data, { beaconBlockRoot: prev.root });
await refused(
  "a double vote",
  post({ ...att, data: twin, signature: sign(v, ssz.phase0.AttestationData, twin, d.slot, P.DOMAIN_BEACON_ATTESTER) }),
  "double vote",
);
const exit = { epoch: 0, validatorIndex: v };
await refused(
  "a voluntary exit with a bad signature",
  api.beacon.submitPoolVoluntaryExit({
    signedVoluntaryExit: { message: exit, signature: sign(v, ssz.Epoch, 0, d.slot, P.DOMAIN_RANDAO) },
  }),
);
// a block: our next proposal
let p;
for (let e = epoch; !p && e < epoch + 20; e++) {
  await at(e * P.SLOTS_PER_EPOCH, 0);
  const now = Math.floor((Date.now() - t0) / slotMs);
  p = (await api.validator.getProposerDuties({ epoch: e }))
    .value()
    .find((x) => sk.has(x.validatorIndex) && x.slot > now);
}
if (r.check(Boolean(p), "one of ours is to propose soon", p && `slot ${p.slot}`)) {
  await at(p.slot, 0.02);
  const b = p.validatorIndex,
    ep = Math.floor(p.slot / P.SLOTS_PER_EPOCH),
    randaoReveal = sign(b, ssz.Epoch, ep, p.slot, P.DOMAIN_RANDAO);
  await refused(
    "block production with a bad randao reveal",
    api.validator.produceBlockV3({
      slot: p.slot,
      randaoReveal: sign(b, ssz.Epoch, ep + 1, p.slot, P.DOMAIN_RANDAO),
      graffiti: "x",
    }),
  );
  const block = (await api.validator.produceBlockV3({ slot: p.slot, randaoReveal, graffiti: "selftest" })).value()
    .block;
  const T = config.getForkTypes(p.slot).BeaconBlock;
  const pub = (m, signer = b) =>
    api.beacon.publishBlockV2({
      signedBlockContents: {
        signedBlock: { message: m, signature: sign(signer, T, m, p.slot, P.DOMAIN_BEACON_PROPOSER) },
        kzgProofs: [],
        blobs: [],
      },
    });
  await refused(
    "a block signed by another key",
    pub(
      edit(T, block, {}),
      indices.find((i) => i !== b),
    ),
    "signature",
  );
  await refused(
    "a block with a wrong state root",
    pub(edit(T, block, { stateRoot: flip(block.stateRoot) })),
    "state root",
  );
  await refused("a block with a wrong parent", pub(edit(T, block, { parentRoot: flip(block.parentRoot) })), "parent");
  const badRandao = edit(T, block, {});
  badRandao.body.randaoReveal = sign(b, ssz.Epoch, ep + 1, p.slot, P.DOMAIN_RANDAO);
  const second = edit(T, block, {});
  second.body.graffiti = new Uint8Array(32);
  await refused("a block with a bad randao reveal", pub(badRandao), "RANDAO");
  await accepted("the right block", pub(block));
  await accepted("the same block again (a second node of the cluster)", pub(block));
  await refused("a second block of the slot", pub(second));
  const rep = await (await fetch(url + "/oracle/report")).json();
  // a voluntary exit (EIP-7044: signed under the capella fork for ever), possible after SHARD_COMMITTEE_PERIOD epochs
  await at((Math.max(ep, chain.SHARD_COMMITTEE_PERIOD) + 1) * P.SLOTS_PER_EPOCH, 0.5);
  const w = indices.at(-1),
    msg = { epoch: 0, validatorIndex: w };
  const signature = sk
    .get(w)
    .sign(computeSigningRoot(ssz.phase0.VoluntaryExit, msg, config.getDomainForVoluntaryExit(p.slot)))
    .toBytes();
  await refused(
    "an exit with a bad signature",
    api.beacon.submitPoolVoluntaryExit({
      signedVoluntaryExit: {
        message: msg,
        signature: sk
          .get(b === w ? indices[0] : b)
          .sign(new Uint8Array(32))
          .toBytes(),
      },
    }),
    "signature",
  );
  await accepted(
    "a right exit",
    api.beacon.submitPoolVoluntaryExit({ signedVoluntaryExit: { message: msg, signature } }),
  );
  let status;
  for (let i = 0; i < 4 && status !== "active_exiting"; i++) {
    await new Promise((x) => setTimeout(x, slotMs));
    status = (await api.beacon.getStateValidator({ stateId: "head", validatorId: w })).value().status;
  }
  r.check(status === "active_exiting", "the exit is in the chain", status);
  r.check(
    rep.slashable.some((s) => s.what.startsWith("double vote")) &&
      rep.slashable.some((s) => s.what.startsWith("double proposal")),
    "the report names both slashable offences",
  );
}
// what became of votes
await at((epoch + 2) * P.SLOTS_PER_EPOCH, 0.2);
// As JSON: in SSZ penalties would have no sign.
const rewards = (epoch) =>
  fetch(`${url}/eth/v1/beacon/rewards/attestations/${epoch}`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify([v, other].map(String)),
  });
const total = (await (await rewards(epoch)).json()).data.total_rewards;
const paid = (w) => total.find((one) => Number(one.validator_index) === w);
r.check(Number(paid(v)?.source) > 0 && Number(paid(v)?.target) > 0, "a vote that is included is paid for");
r.check(Number(paid(other)?.source) < 0, "a vote that nobody cast costs something", JSON.stringify(paid(other)));
r.check((await rewards(epoch + 1000)).status === 404, "rewards of the future are not known");
r.end();
