// usage: node chain.mjs RUN_DIR [--rest-port 19597] [--interop 16]        (RUN_DIR as genesis.mjs made it; electra or fulu)
// A judging chain: one process, no network. Every consensus rule is Lodestar's own code (@lodestar/state-transition decides
// whether a block and its votes are valid, @lodestar/api decodes and encodes every request and answer, @chainsafe/blst checks
// every signature); this file only keeps the chain, the pools and the clock, runs the interop validators, and invents empty
// execution payloads. It is stricter than a real node: it answers 400 to anything a gossip rule would drop, and it remembers
// slashable votes and double proposals. It keeps one linear chain (a block must build on the head).
// GET /oracle/report  -> what every foreign validator sent, what was refused and why, slashable offences.
import fs from "node:fs";
import path from "node:path";
import { lodestarConfig } from "./config.mjs";

const argv = process.argv.slice(2);
const opt = (n, d) => {
  const i = argv.indexOf(n);
  return i < 0 ? d : argv.splice(i, 2)[1];
};
const restPort = Number(opt("--rest-port", "19597")),
  interopCount = Number(opt("--interop", "16"));
const [dir] = argv;
const params = JSON.parse(fs.readFileSync(path.join(dir, "params.json"), "utf8"));
process.env.LODESTAR_PRESET = params.PRESET_BASE;

const { ssz } = await import("@lodestar/types");
const P = await import("@lodestar/params");
const { createBeaconConfig, chainConfigToJson } = await import("@lodestar/config");
const ST = await import("@lodestar/state-transition");
const { registerRoutes } = await import("@lodestar/api/beacon/server");
const { ApiError, addSszContentTypeParser } = await import("./node_modules/@lodestar/api/lib/utils/server/index.js");
const { BitArray } = await import("@chainsafe/ssz");
const blst = (await import("@chainsafe/blst")).default;
const { fastify } = await import("fastify");
const qs = (await import("qs")).default;
const crypto = await import("node:crypto");

const hex = (b) => "0x" + Buffer.from(b).toString("hex");
const unhex = (s) => Uint8Array.from(Buffer.from(s.replace(/^0x/, ""), "hex"));
const log = (...a) => console.log(new Date().toISOString().slice(11, 23), ...a);
const SPE = P.SLOTS_PER_EPOCH,
  SUBNETS = P.SYNC_COMMITTEE_SUBNET_COUNT,
  SUB = P.SYNC_COMMITTEE_SIZE / SUBNETS;
const epochOf = (slot) => Math.floor(slot / SPE);
const ZERO = new Uint8Array(32);

// ---- chain ----------------------------------------------------------------------------------------------------------
const forkConfig = await lodestarConfig(params);
const genesisState = forkConfig
  .getForkTypes(0)
  .BeaconState.deserializeToViewDU(fs.readFileSync(path.join(dir, "genesis.ssz")));
const config = createBeaconConfig(forkConfig, genesisState.genesisValidatorsRoot);
if (config.getForkSeq(0) < P.ForkSeq.electra) throw new Error("chain.mjs judges electra and fulu chains only");
const pubkeyCache = ST.createPubkeyCache();
const anchor = ST.createCachedBeaconState(genesisState, { config, pubkeyCache });
const slotMs = config.SLOT_DURATION_MS,
  genesisMs = genesisState.genesisTime * 1000;
const nowSlot = (slack = 0) => Math.floor((Date.now() + slack - genesisMs) / slotMs);
const intoSlot = (slot) => Date.now() - (genesisMs + slot * slotMs);
const genesisBlock = config.getForkTypes(0).SignedBeaconBlock.defaultValue();
genesisBlock.message.stateRoot = anchor.hashTreeRoot();
const genesisRoot = ssz.phase0.BeaconBlockHeader.hashTreeRoot({
  ...anchor.latestBlockHeader.toValue(),
  stateRoot: anchor.hashTreeRoot(),
});
const blocks = new Map(); // root hex -> {root, slot, signed, state}
const bySlot = new Map(); // slot -> root hex
let head = { root: genesisRoot, slot: 0, signed: genesisBlock, state: anchor };
blocks.set(hex(genesisRoot), head);
bySlot.set(0, hex(genesisRoot));
const blockAtOrBefore = (slot) => {
  for (let s = slot; s >= 0; s--) if (bySlot.has(s)) return blocks.get(bySlot.get(s));
};
const rootAt = (slot) => blockAtOrBefore(Math.max(0, slot)).root;
const dialed = new Map();
function stateAt(slot) {
  // the canonical state advanced to `slot`
  const b = blockAtOrBefore(slot);
  if (b.state.slot === slot) return b.state;
  const key = `${hex(b.root)}/${slot}`;
  if (!dialed.has(key)) {
    if (dialed.size > 64) dialed.delete(dialed.keys().next().value);
    dialed.set(key, ST.processSlots(b.state, slot));
  }
  return dialed.get(key);
}
const headState = () => stateAt(Math.max(head.slot, nowSlot(), 0));
const domain = (slot, type) => config.getDomain(slot, type);
const pk = (i) => pubkeyCache.getOrThrow(i);
function verify(index, root, signature) {
  try {
    return blst.verify(root, pk(index), blst.Signature.fromBytes(signature, true));
  } catch {
    return false;
  }
}
const signingRoot = (type, obj, slot, dom) => ST.computeSigningRoot(type, obj, domain(slot, dom));

// ---- the report -----------------------------------------------------------------------------------------------------
const report = {
  started: new Date().toISOString(),
  validators: {},
  arrivals: {},
  refused: [],
  slashable: [],
  blocks: { proposed: 0, missed: 0 },
};
const arrived = new Set(); // every node of a cluster sends every message: the first counts
/** Notes when a message first arrived, in ms into its slot; false for a repetition. */
function arrival(kind, v, slot, part = "") {
  const key = `${kind}/${v}/${slot}/${part}`;
  if (arrived.has(key)) return false;
  arrived.add(key);
  (report.arrivals[kind] ??= []).push([slot, v, intoSlot(slot)]);
  return true;
}
const rv = (i) =>
  (report.validators[i] ??= {
    pubkey: hex(genesisPubkey(i)),
    attestations: 0,
    duplicates: 0,
    aggregates: 0,
    syncMessages: 0,
    contributions: 0,
    proposals: [],
    missedProposals: [],
    exits: 0,
    registrations: 0,
    feeRecipient: null,
  });
const genesisPubkey = (i) => anchor.validators.getReadonly(i).pubkey;
const refuse = (what, who, why) => {
  report.refused.push({ slot: nowSlot(), what, validator: who, why });
  log(`REFUSED ${what} of ${who}: ${why}`);
  return new ApiError(400, `${what}: ${why}`);
};
const slashable = (who, what) => {
  report.slashable.push({ slot: nowSlot(), validator: who, what });
  log(`SLASHABLE ${what} by ${who}`);
};
class Failures extends ApiError {
  constructor(list) {
    super(400, list.map((f) => f.message).join("; "));
    this.failures = list;
  }
}

// ---- pools ----------------------------------------------------------------------------------------------------------
const votes = new Map(); // slot -> data root hex -> {data, committees: Map(index -> {size, sigs: Map(position -> sig)})}
const voteHistory = new Map(); // validator -> [{source, target, root}]
const included = new Set(); // `${validator}/${epoch}`
const syncPool = new Map(); // slot -> root hex -> Map(validator -> sig)
const blockSeen = new Map(); // `${slot}/${proposer}` -> root hex
const live = new Map(); // epoch -> Set(validator)
const exits = new Map(); // validator -> signed exit
const preparations = new Map(); // validator -> fee recipient
const aggregated = new Map(); // slot -> committees that somebody subscribed to as an aggregator
const synced = new Map(); // validator -> [subcommittees that somebody subscribed to for it, the epoch in which that ends]
const markLive = (epoch, v) => {
  if (!live.has(epoch)) live.set(epoch, new Set());
  live.get(epoch).add(v);
};

function addVote(att, foreign) {
  const { data, committeeIndex, attesterIndex: v, signature } = att;
  const bad = (why) => refuse("attestation", v, why);
  const slot = data.slot,
    epoch = epochOf(slot);
  if (data.index !== 0) throw bad(`data.index ${data.index} is not 0 (electra)`);
  if (slot > nowSlot(500)) throw bad(`slot ${slot} is in the future`);
  if (slot + SPE < nowSlot()) throw bad(`slot ${slot} is too old`);
  if (data.target.epoch !== epoch) throw bad(`target epoch ${data.target.epoch} is not the slot's`);
  const state = stateAt(Math.min(Math.max(head.slot, nowSlot()), (epoch + 1) * SPE + SPE - 1));
  if (committeeIndex >= state.epochCtx.getCommitteeCountPerSlot(epoch)) throw bad(`no committee ${committeeIndex}`);
  const committee = Array.from(state.epochCtx.getBeaconCommittee(slot, committeeIndex));
  const pos = committee.indexOf(v);
  if (pos < 0) throw bad(`not in committee ${committeeIndex} of slot ${slot}`);
  const b = blocks.get(hex(data.beaconBlockRoot));
  if (!b || b.slot > slot) throw bad(`unknown or later beacon_block_root ${hex(data.beaconBlockRoot)}`);
  if (hex(data.target.root) !== hex(rootAt(epoch * SPE))) throw bad("wrong target root");
  const now = state.epochCtx.epoch,
    source = epoch === now ? state.currentJustifiedCheckpoint : state.previousJustifiedCheckpoint;
  if (data.source.epoch !== source.epoch || hex(data.source.root) !== hex(source.root))
    throw bad(`wrong source ${data.source.epoch}, want ${source.epoch}`);
  if (foreign && !verify(v, signingRoot(ssz.phase0.AttestationData, data, slot, P.DOMAIN_BEACON_ATTESTER), signature))
    throw bad("bad signature");
  const root = hex(ssz.phase0.AttestationData.hashTreeRoot(data));
  const hist = voteHistory.get(v) ?? voteHistory.set(v, []).get(v);
  for (const h of hist) {
    if (h.target === epoch && h.root !== root) {
      slashable(v, `double vote in epoch ${epoch}`);
      throw bad("slashable: double vote");
    }
    if ((h.source < data.source.epoch && h.target > epoch) || (h.source > data.source.epoch && h.target < epoch)) {
      slashable(v, "surround vote");
      throw bad("slashable: surround vote");
    }
  }
  if (foreign) {
    const r = rv(v);
    if (hist.some((h) => h.root === root)) r.duplicates++;
    else {
      r.attestations++;
      arrival("attestation", v, slot);
    }
  }
  if (!hist.some((h) => h.root === root)) hist.push({ source: data.source.epoch, target: epoch, root });
  const bySl = votes.get(slot) ?? votes.set(slot, new Map()).get(slot);
  const entry = bySl.get(root) ?? bySl.set(root, { data, committees: new Map() }).get(root);
  const c =
    entry.committees.get(committeeIndex) ??
    entry.committees.set(committeeIndex, { members: committee, sigs: new Map() }).get(committeeIndex);
  c.sigs.set(pos, signature);
  markLive(epoch, v);
}
function toAttestation(entry, indices) {
  const cbits = BitArray.fromBitLen(P.MAX_COMMITTEES_PER_SLOT),
    bits = [],
    sigs = [];
  for (const ci of indices) {
    const c = entry.committees.get(ci);
    cbits.set(ci, true);
    c.members.forEach((_, i) => {
      bits.push(c.sigs.has(i));
      if (c.sigs.has(i)) sigs.push(blst.Signature.fromBytes(c.sigs.get(i)));
    });
  }
  return {
    aggregationBits: BitArray.fromBoolArray(bits),
    data: entry.data,
    signature: blst.aggregateSignatures(sigs).toBytes(),
    committeeBits: cbits,
  };
}

// ---- blocks ---------------------------------------------------------------------------------------------------------
function produce(slot, randaoReveal, graffiti, feeRecipient) {
  const state = stateAt(slot),
    types = config.getForkTypes(slot),
    seq = config.getForkSeq(slot);
  const proposer = state.epochCtx.getBeaconProposer(slot);
  const body = types.BeaconBlockBody.defaultValue();
  body.randaoReveal = randaoReveal;
  body.eth1Data = state.eth1Data.toValue();
  body.graffiti = graffiti;
  for (
    let s = slot - 1;
    s >= Math.max(0, (epochOf(slot) - 1) * SPE) && body.attestations.length < P.MAX_ATTESTATIONS_ELECTRA;
    s--
  ) {
    for (const entry of votes.get(s)?.values() ?? []) {
      const e = entry.data.target.epoch,
        source = e === epochOf(slot) ? state.currentJustifiedCheckpoint : state.previousJustifiedCheckpoint;
      if (entry.data.source.epoch !== source.epoch || hex(entry.data.source.root) !== hex(source.root)) continue;
      const idx = [...entry.committees.keys()].sort((a, b) => a - b);
      const fresh = idx.some((ci) =>
        [...entry.committees.get(ci).sigs.keys()].some(
          (p) => !included.has(`${entry.committees.get(ci).members[p]}/${e}`),
        ),
      );
      if (fresh && body.attestations.length < P.MAX_ATTESTATIONS_ELECTRA)
        body.attestations.push(toAttestation(entry, idx));
    }
  }
  const prevRoot = rootAt(slot - 1),
    msgs = syncPool.get(slot - 1)?.get(hex(prevRoot)) ?? new Map();
  const cache = state.epochCtx.getIndexedSyncCommittee(slot - 1),
    sbits = BitArray.fromBitLen(P.SYNC_COMMITTEE_SIZE),
    ssigs = [];
  for (const [v, sig] of msgs)
    for (const p of cache.validatorIndexMap.get(v) ?? []) {
      sbits.set(p, true);
      ssigs.push(blst.Signature.fromBytes(sig));
    }
  body.syncAggregate = {
    syncCommitteeBits: sbits,
    syncCommitteeSignature: ssigs.length ? blst.aggregateSignatures(ssigs).toBytes() : ST.G2_POINT_AT_INFINITY,
  };
  for (const [v, e] of exits)
    if (
      body.voluntaryExits.length < P.MAX_VOLUNTARY_EXITS &&
      ST.getVoluntaryExitValidity(seq, state, e, false) === ST.VoluntaryExitValidity.valid
    )
      body.voluntaryExits.push(e);
    else if (state.validators.getReadonly(v).exitEpoch !== P.FAR_FUTURE_EPOCH) exits.delete(v);
  const eh = state.latestExecutionPayloadHeader;
  Object.assign(body.executionPayload, {
    parentHash: eh.blockHash,
    feeRecipient: unhex(feeRecipient ?? preparations.get(proposer) ?? "0x" + "11".repeat(20)),
    prevRandao: ST.getRandaoMix(state, epochOf(slot)),
    blockNumber: eh.blockNumber + 1,
    gasLimit: 30_000_000,
    timestamp: genesisState.genesisTime + Math.floor((slot * slotMs) / 1000),
    baseFeePerGas: 7n,
    blockHash: crypto.createHash("sha256").update(eh.blockHash).update(String(slot)).update(graffiti).digest(),
    withdrawals: ST.getExpectedWithdrawals(seq, state).expectedWithdrawals,
  });
  const block = { slot, proposerIndex: proposer, parentRoot: head.root, stateRoot: ZERO, body };
  const post = ST.stateTransition(
    blockAtOrBefore(slot).state,
    { message: block, signature: ST.EMPTY_SIGNATURE },
    {
      verifyStateRoot: false,
      verifyProposer: false,
      verifySignatures: false,
      executionPayloadStatus: "valid",
      dataAvailabilityStatus: "Available",
    },
  );
  block.stateRoot = post.hashTreeRoot();
  return block;
}
function importBlock(signed, foreign) {
  const m = signed.message,
    types = config.getForkTypes(m.slot),
    root = types.BeaconBlock.hashTreeRoot(m),
    key = `${m.slot}/${m.proposerIndex}`;
  const bad = (why) => refuse("block", m.proposerIndex, why);
  if (blocks.has(hex(root))) return; // the peers of a cluster all publish the same block
  if (m.slot > nowSlot(500)) throw bad(`slot ${m.slot} is in the future`);
  if (m.slot <= head.slot) {
    if (
      blockSeen.has(key) &&
      verify(m.proposerIndex, signingRoot(types.BeaconBlock, m, m.slot, P.DOMAIN_BEACON_PROPOSER), signed.signature)
    )
      slashable(m.proposerIndex, `double proposal at slot ${m.slot}`);
    throw bad(`slot ${m.slot} is not after the head ${head.slot}`);
  }
  if (hex(m.parentRoot) !== hex(head.root)) throw bad(`parent ${hex(m.parentRoot)} is not the head`);
  let post;
  try {
    post = ST.stateTransition(head.state, signed, {
      verifyStateRoot: true,
      verifyProposer: true,
      verifySignatures: true,
      executionPayloadStatus: "valid",
      dataAvailabilityStatus: "Available",
    });
  } catch (e) {
    throw bad(`state transition: ${e.message}`);
  }
  const before = head.state;
  const old = before.finalizedCheckpoint.epoch;
  blockSeen.set(key, hex(root));
  head = { root, slot: m.slot, signed, state: post };
  blocks.set(hex(root), head);
  bySlot.set(m.slot, hex(root));
  for (const a of m.body.attestations)
    for (const v of post.epochCtx.getAttestingIndices(config.getForkSeq(m.slot), a))
      included.add(`${v}/${a.data.target.epoch}`);
  report.blocks.proposed++;
  if (foreign) arrival("block", m.proposerIndex, m.slot);
  if (foreign)
    rv(m.proposerIndex).proposals.push({
      slot: m.slot,
      graffiti: Buffer.from(m.body.graffiti).toString("utf8").replace(/\0+$/, ""),
      feeRecipient: hex(m.body.executionPayload.feeRecipient),
    });
  const f = post.finalizedCheckpoint;
  log(
    `slot ${m.slot} block ${hex(root).slice(0, 10)} by ${m.proposerIndex}${foreign ? " (foreign)" : ""}, ${m.body.attestations.length} attestations, sync ${m.body.syncAggregate.syncCommitteeBits.getTrueBitIndexes().length}/${P.SYNC_COMMITTEE_SIZE}, justified ${post.currentJustifiedCheckpoint.epoch} finalized ${f.epoch}`,
  );
  emit("block", { slot: m.slot, block: hex(root), executionOptimistic: false });
  emit("head", {
    slot: m.slot,
    block: hex(root),
    state: hex(m.stateRoot),
    epochTransition: m.slot % SPE === 0,
    previousDutyDependentRoot: hex(dependentRoot(epochOf(m.slot))),
    currentDutyDependentRoot: hex(rootAt(epochOf(m.slot) * SPE - 1)),
    executionOptimistic: false,
  });
  if (f.epoch > old)
    emit("finalized_checkpoint", {
      block: hex(f.root),
      epoch: f.epoch,
      state: hex(blocks.get(hex(f.root)).signed.message.stateRoot),
      executionOptimistic: false,
    });
}
const listeners = new Set();
const emit = (type, message) => {
  for (const l of listeners) if (l.topics.includes(type)) l.onEvent({ type, message });
};
const dependentRoot = (epoch) => rootAt((epoch - 1) * SPE - 1);

// ---- the interop validators -------------------------------------------------------------------------------------------
const interop = ST.interopSecretKeys(interopCount);
const mine = (v) => v < interopCount;
const at = (slot, frac) =>
  new Promise((r) => setTimeout(r, Math.max(0, genesisMs + (slot + frac) * slotMs - Date.now())));
function ownProposal(slot) {
  const v = stateAt(slot).epochCtx.getBeaconProposer(slot);
  if (!mine(v)) return;
  const reveal = interop[v].sign(signingRoot(ssz.Epoch, epochOf(slot), slot, P.DOMAIN_RANDAO)).toBytes();
  const block = produce(slot, reveal, new Uint8Array(32));
  importBlock(
    {
      message: block,
      signature: interop[v]
        .sign(signingRoot(config.getForkTypes(slot).BeaconBlock, block, slot, P.DOMAIN_BEACON_PROPOSER))
        .toBytes(),
    },
    false,
  );
}
function attestationData(slot, index = 0) {
  const epoch = epochOf(slot),
    state = stateAt(Math.max(slot, head.slot));
  const source = epoch === state.epochCtx.epoch ? state.currentJustifiedCheckpoint : state.previousJustifiedCheckpoint;
  return {
    slot,
    index,
    beaconBlockRoot: rootAt(slot),
    source: { epoch: source.epoch, root: source.root },
    target: { epoch, root: rootAt(epoch * SPE) },
  };
}
function ownVotes(slot) {
  const epoch = epochOf(slot),
    state = stateAt(Math.max(slot, head.slot)),
    data = attestationData(slot);
  const root = signingRoot(ssz.phase0.AttestationData, data, slot, P.DOMAIN_BEACON_ATTESTER);
  for (let ci = 0; ci < state.epochCtx.getCommitteeCountPerSlot(epoch); ci++)
    for (const v of state.epochCtx.getBeaconCommittee(slot, ci))
      if (mine(v))
        addVote({ committeeIndex: ci, attesterIndex: v, data, signature: interop[v].sign(root).toBytes() }, false);
  const r = rootAt(slot),
    sroot = signingRoot(ssz.Root, r, slot, P.DOMAIN_SYNC_COMMITTEE);
  for (const v of new Set(state.epochCtx.getIndexedSyncCommittee(slot).validatorIndices))
    if (mine(v)) addSync(slot, r, v, interop[v].sign(sroot).toBytes());
}
function addSync(slot, root, v, sig) {
  const a = syncPool.get(slot) ?? syncPool.set(slot, new Map()).get(slot);
  (a.get(hex(root)) ?? a.set(hex(root), new Map()).get(hex(root))).set(v, sig);
}
const safely = (what, f) => {
  try {
    return f();
  } catch (e) {
    if (!(e instanceof ApiError)) log("ERROR", what, e);
  }
};
async function clock() {
  for (let slot = Math.max(1, nowSlot() + 1); ; slot++) {
    await at(slot, 0);
    const late = slot - 1;
    if (late > 0 && !bySlot.has(late)) {
      report.blocks.missed++;
      const v = stateAt(late).epochCtx.getBeaconProposer(late);
      if (!mine(v)) rv(v).missedProposals.push(late);
      log(`slot ${late} has no block (proposer ${v}${mine(v) ? "" : ", foreign"})`);
    }
    safely("proposal", () => ownProposal(slot));
    for (const m of [votes, syncPool]) for (const k of m.keys()) if (k < slot - 3 * SPE) m.delete(k);
    await at(slot, 1 / 3);
    safely("votes", () => ownVotes(slot));
    if (slot % SPE === 0) fs.writeFileSync(path.join(dir, "report.json"), JSON.stringify(report, null, 1));
  }
}

// ---- the API ------------------------------------------------------------------------------------------------------------
const EO = { executionOptimistic: false },
  EOF = { executionOptimistic: false, finalized: false };
function stateOf(id) {
  const s = String(id);
  if (s === "head") return headState();
  if (s === "genesis") return anchor;
  if (s === "finalized" || s === "justified") {
    const c = s === "finalized" ? head.state.finalizedCheckpoint : head.state.currentJustifiedCheckpoint;
    return c.epoch === 0 ? anchor : blocks.get(hex(c.root)).state;
  }
  if (/^\d+$/.test(s)) {
    if (Number(s) > Math.max(head.slot, nowSlot())) throw new ApiError(404, `no state at slot ${s}`);
    return stateAt(Number(s));
  }
  for (const b of blocks.values()) if (hex(b.signed.message.stateRoot) === s) return b.state;
  throw new ApiError(404, `no state ${s}`);
}
function blockOf(id) {
  const s = String(id);
  const b =
    s === "head"
      ? head
      : s === "genesis"
        ? blocks.get(bySlot.get(0))
        : s === "finalized" || s === "justified"
          ? (() => {
              const c = s === "finalized" ? head.state.finalizedCheckpoint : head.state.currentJustifiedCheckpoint;
              return c.epoch === 0 ? blocks.get(bySlot.get(0)) : blocks.get(hex(c.root));
            })()
          : /^\d+$/.test(s)
            ? blocks.get(bySlot.get(Number(s)))
            : blocks.get(s);
  if (!b) throw new ApiError(404, `no block ${s}`);
  return b;
}
const isFinal = (slot) => slot <= head.state.finalizedCheckpoint.epoch * SPE;
function statusOf(v, epoch) {
  if (v.activationEpoch > epoch)
    return v.activationEligibilityEpoch === P.FAR_FUTURE_EPOCH ? "pending_initialized" : "pending_queued";
  if (epoch < v.exitEpoch)
    return v.exitEpoch === P.FAR_FUTURE_EPOCH ? "active_ongoing" : v.slashed ? "active_slashed" : "active_exiting";
  if (epoch < v.withdrawableEpoch) return v.slashed ? "exited_slashed" : "exited_unslashed";
  return v.effectiveBalance ? "withdrawal_possible" : "withdrawal_done";
}
function validatorsOf(state, ids, statuses) {
  const one = (i) => ({
    index: i,
    balance: state.balances.get(i),
    status: statusOf(state.validators.getReadonly(i), state.epochCtx.epoch),
    validator: state.validators.getReadonly(i).toValue(),
  });
  let idx = Array.from({ length: state.validators.length }, (_, i) => i);
  if (ids?.length)
    idx = ids
      .map((x) => (/^0x/.test(String(x)) ? pubkeyCache.getIndex(unhex(String(x))) : Number(x)))
      .filter((i) => i !== null && i < state.validators.length);
  return idx
    .map(one)
    .filter((v) => !statuses?.length || statuses.some((s) => v.status === s || v.status.startsWith(s + "_")));
}
const checkEpoch = (epoch) => {
  if (epoch > epochOf(Math.max(0, nowSlot(500))) + 1)
    throw new ApiError(400, `epoch ${epoch} is too far in the future`);
};
const fullAttestation = (root, slot, ci) => {
  const e = votes.get(slot)?.get(hex(root));
  if (!e?.committees.has(ci)) throw new ApiError(404, "no matching attestations");
  return toAttestation(e, [ci]);
};
const each = (list, f) => {
  const fails = [];
  list.forEach((x, index) => {
    try {
      f(x);
    } catch (e) {
      if (!(e instanceof ApiError)) log("ERROR", e);
      fails.push({ index, message: e.message });
    }
  });
  if (fails.length) throw new Failures(fails);
};

const api = {
  beacon: {
    getGenesis: async () => ({
      data: {
        genesisTime: genesisState.genesisTime,
        genesisValidatorsRoot: genesisState.genesisValidatorsRoot,
        genesisForkVersion: config.GENESIS_FORK_VERSION,
      },
    }),
    getStateRoot: async ({ stateId }) => ({ data: { root: stateOf(stateId).hashTreeRoot() }, meta: EOF }),
    getStateFork: async ({ stateId }) => ({ data: stateOf(stateId).fork.toValue(), meta: EOF }),
    getStateRandao: async ({ stateId, epoch }) => {
      const s = stateOf(stateId);
      return { data: { randao: ST.getRandaoMix(s, epoch ?? s.epochCtx.epoch) }, meta: EOF };
    },
    getStateFinalityCheckpoints: async ({ stateId }) => {
      const s = stateOf(stateId);
      return {
        data: {
          previousJustified: s.previousJustifiedCheckpoint.toValue(),
          currentJustified: s.currentJustifiedCheckpoint.toValue(),
          finalized: s.finalizedCheckpoint.toValue(),
        },
        meta: EOF,
      };
    },
    getStateValidators: async ({ stateId, validatorIds, statuses }) => ({
      data: validatorsOf(stateOf(stateId), validatorIds, statuses),
      meta: EOF,
    }),
    postStateValidators: async ({ stateId, validatorIds, statuses }) => ({
      data: validatorsOf(stateOf(stateId), validatorIds, statuses),
      meta: EOF,
    }),
    getStateValidator: async ({ stateId, validatorId }) => {
      const [v] = validatorsOf(stateOf(stateId), [validatorId]);
      if (!v) throw new ApiError(404, "no such validator");
      return { data: v, meta: EOF };
    },
    getStateValidatorBalances: async ({ stateId, validatorIds }) => ({
      data: validatorsOf(stateOf(stateId), validatorIds).map(({ index, balance }) => ({ index, balance })),
      meta: EOF,
    }),
    postStateValidatorBalances: async ({ stateId, validatorIds }) => ({
      data: validatorsOf(stateOf(stateId), validatorIds).map(({ index, balance }) => ({ index, balance })),
      meta: EOF,
    }),
    postStateValidatorIdentities: async ({ stateId, validatorIds }) => ({
      data: validatorsOf(stateOf(stateId), validatorIds).map(({ index, validator }) => ({
        index,
        pubkey: validator.pubkey,
        activationEpoch: validator.activationEpoch,
      })),
      meta: EOF,
    }),
    getEpochCommittees: async ({ stateId, epoch, index, slot }) => {
      const s = stateOf(stateId),
        e = epoch ?? s.epochCtx.epoch,
        out = [];
      if (Math.abs(e - s.epochCtx.epoch) > 1) throw new ApiError(400, `epoch ${e} is not near the state's`);
      for (let sl = e * SPE; sl < (e + 1) * SPE; sl++)
        for (let ci = 0; ci < s.epochCtx.getCommitteeCountPerSlot(e); ci++)
          if ((index === undefined || index === ci) && (slot === undefined || slot === sl))
            out.push({ index: ci, slot: sl, validators: Array.from(s.epochCtx.getBeaconCommittee(sl, ci)) });
      return { data: out, meta: EOF };
    },
    getEpochSyncCommittees: async ({ stateId, epoch }) => {
      const s = stateOf(stateId),
        v = Array.from(s.epochCtx.getIndexedSyncCommitteeAtEpoch(epoch ?? s.epochCtx.epoch).validatorIndices);
      return {
        data: {
          validators: v,
          validatorAggregates: Array.from({ length: SUBNETS }, (_, i) => v.slice(i * SUB, (i + 1) * SUB)),
        },
        meta: EOF,
      };
    },
    getBlockV2: async ({ blockId }) => {
      const b = blockOf(blockId);
      return { data: b.signed, meta: { ...EO, finalized: isFinal(b.slot), version: config.getForkName(b.slot) } };
    },
    getBlockHeader: async ({ blockId }) => {
      const b = blockOf(blockId);
      return {
        data: { root: b.root, canonical: true, header: ST.signedBlockToSignedHeader(config, b.signed) },
        meta: { ...EO, finalized: isFinal(b.slot) },
      };
    },
    // As the chain pays for the votes of an epoch, at the last slot of the next one.
    getAttestationsRewards: async ({ epoch, validatorIds }) => {
      const last = (epoch + 2) * SPE - 1;
      if (last > nowSlot()) throw new ApiError(404, `the rewards of epoch ${epoch} are not known yet`);
      const data = await ST.computeAttestationsRewards(config, pubkeyCache, stateAt(last), validatorIds ?? []);
      return { data, meta: EOF };
    },
    getBlockHeaders: async () => ({
      data: [{ root: head.root, canonical: true, header: ST.signedBlockToSignedHeader(config, head.signed) }],
      meta: EOF,
    }),
    getBlockRoot: async ({ blockId }) => {
      const b = blockOf(blockId);
      return { data: { root: b.root }, meta: { ...EO, finalized: isFinal(b.slot) } };
    },
    getBlockAttestationsV2: async ({ blockId }) => {
      const b = blockOf(blockId);
      return {
        data: b.signed.message.body.attestations,
        meta: { ...EO, finalized: isFinal(b.slot), version: config.getForkName(b.slot) },
      };
    },
    publishBlockV2: async ({ signedBlockContents: { signedBlock } }) => importBlock(signedBlock, true),
    getPoolAttestationsV2: async ({ slot, committeeIndex }) => {
      const out = [];
      for (const [s, m] of votes)
        if (slot === undefined || s === slot)
          for (const e of m.values())
            for (const ci of e.committees.keys())
              if (committeeIndex === undefined || ci === committeeIndex) out.push(toAttestation(e, [ci]));
      return { data: out, meta: { version: config.getForkName(Math.max(0, nowSlot())) } };
    },
    submitPoolAttestationsV2: async ({ signedAttestations }) =>
      each(signedAttestations, (a) => {
        if (a.attesterIndex === undefined) throw refuse("attestation", "?", "not a SingleAttestation");
        addVote(a, true);
        emit("single_attestation", a);
      }),
    submitPoolSyncCommitteeSignatures: async ({ signatures }) =>
      each(signatures, (m) => {
        const bad = (why) => refuse("sync message", m.validatorIndex, why),
          now = nowSlot();
        if (Math.abs(m.slot - now) > 1 || m.slot > nowSlot(500)) throw bad(`slot ${m.slot} is not the current ${now}`);
        if (!headState().epochCtx.getIndexedSyncCommittee(m.slot).validatorIndexMap.has(m.validatorIndex))
          throw bad("not in the sync committee");
        if (
          !verify(
            m.validatorIndex,
            signingRoot(ssz.Root, m.beaconBlockRoot, m.slot, P.DOMAIN_SYNC_COMMITTEE),
            m.signature,
          )
        )
          throw bad("bad signature");
        addSync(m.slot, m.beaconBlockRoot, m.validatorIndex, m.signature);
        if (arrival("sync message", m.validatorIndex, m.slot)) rv(m.validatorIndex).syncMessages++;
        markLive(epochOf(m.slot), m.validatorIndex);
      }),
    getPoolVoluntaryExits: async () => ({ data: [...exits.values()] }),
    submitPoolVoluntaryExit: async ({ signedVoluntaryExit: e }) => {
      const v = e.message.validatorIndex,
        s = headState();
      const why = ST.getVoluntaryExitValidity(config.getForkSeq(s.slot), s, e, true);
      if (why !== ST.VoluntaryExitValidity.valid) throw refuse("voluntary exit", v, why);
      exits.set(v, e);
      rv(v).exits++;
      emit("voluntary_exit", e);
    },
  },
  config: {
    getSpec: async () => ({
      data: {
        ...chainConfigToJson(config),
        ...Object.fromEntries(Object.entries(P.activePreset ?? {}).map(([k, v]) => [k, String(v)])),
        ...specConstants(),
        SECONDS_PER_SLOT: String(Math.round(slotMs / 1000)),
      },
    }),
    getForkSchedule: async () => ({
      data: config.forksAscendingEpochOrder
        .filter((f) => f.epoch !== Infinity)
        .map((f) => ({ previousVersion: f.prevVersion, currentVersion: f.version, epoch: f.epoch })),
    }),
    getDepositContract: async () => ({
      data: { chainId: config.DEPOSIT_CHAIN_ID, address: config.DEPOSIT_CONTRACT_ADDRESS },
    }),
  },
  node: {
    getNodeVersion: async () => ({ data: { version: "dv-oracle-chain/1 (lodestar state transition 1.46.0)" } }),
    getSyncingStatus: async () => ({
      data: {
        headSlot: head.slot,
        syncDistance: Math.max(0, nowSlot() - head.slot),
        isSyncing: false,
        isOptimistic: false,
        elOffline: false,
      },
    }),
    getHealth: async () => ({ status: 200 }),
    getPeerCount: async () => ({ data: { disconnected: 0, connecting: 0, connected: 1, disconnecting: 0 } }),
    getPeers: async () => ({ data: [], meta: { count: 0 } }),
  },
  validator: {
    getAttesterDuties: async ({ epoch, indices }) => {
      checkEpoch(epoch);
      const s = headState(),
        m = (Math.abs(epoch - s.epochCtx.epoch) <= 1 ? s : stateAt(epoch * SPE)).epochCtx.getCommitteeAssignments(
          epoch,
          indices,
        );
      return {
        data: [...m].map(([v, d]) => ({ ...d, validatorIndex: v, pubkey: s.validators.getReadonly(v).pubkey })),
        meta: { ...EO, dependentRoot: hex(dependentRoot(epoch)) },
      };
    },
    getProposerDuties: async ({ epoch }) => proposerDuties(epoch, rootAt(epoch * SPE - 1)),
    getProposerDutiesV2: async ({ epoch }) => proposerDuties(epoch, dependentRoot(epoch)),
    getSyncCommitteeDuties: async ({ epoch, indices }) => {
      const s = headState(),
        map = s.epochCtx.getIndexedSyncCommitteeAtEpoch(epoch).validatorIndexMap;
      return {
        data: indices
          .filter((v) => map.has(v))
          .map((v) => ({
            pubkey: s.validators.getReadonly(v).pubkey,
            validatorIndex: v,
            validatorSyncCommitteeIndices: map.get(v),
          })),
        meta: EO,
      };
    },
    produceBlockV3: async ({ slot, randaoReveal, graffiti, skipRandaoVerification, feeRecipient }) => {
      if (slot > nowSlot(500) || slot <= head.slot)
        throw new ApiError(400, `cannot build slot ${slot} on head ${head.slot} now`);
      const proposer = stateAt(slot).epochCtx.getBeaconProposer(slot);
      if (
        !skipRandaoVerification &&
        !verify(proposer, signingRoot(ssz.Epoch, epochOf(slot), slot, P.DOMAIN_RANDAO), randaoReveal)
      )
        throw refuse("randao reveal", proposer, "bad signature");
      const g = new Uint8Array(32);
      g.set(Buffer.from(graffiti ?? "").subarray(0, 32));
      const block = produce(slot, randaoReveal, g, feeRecipient);
      return {
        data: { block, kzgProofs: [], blobs: [] },
        meta: {
          version: config.getForkName(slot),
          executionPayloadBlinded: false,
          executionPayloadSource: "engine",
          executionPayloadValue: 1n,
          consensusBlockValue: 1n,
        },
      };
    },
    produceAttestationData: async ({ slot, committeeIndex }) => {
      if (slot > nowSlot(500) || slot + SPE < nowSlot()) throw new ApiError(400, `slot ${slot} is not current`);
      return { data: attestationData(slot) };
    },
    // As a real node: nobody aggregates for who did not subscribe.
    getAggregatedAttestationV2: async ({ attestationDataRoot, slot, committeeIndex }) => {
      if (!aggregated.get(slot)?.has(committeeIndex)) throw new ApiError(404, "no aggregator subscribed to this committee");
      return {
        data: fullAttestation(attestationDataRoot, slot, committeeIndex),
        meta: { version: config.getForkName(slot) },
      };
    },
    publishAggregateAndProofsV2: async ({ signedAggregateAndProofs }) =>
      each(signedAggregateAndProofs, (s) => {
        const { aggregatorIndex: v, aggregate: a, selectionProof } = s.message,
          slot = a.data.slot,
          bad = (why) => refuse("aggregate", v, why);
        if (Math.abs(slot - nowSlot()) > SPE) throw bad("old or future slot");
        const ci = a.committeeBits.getTrueBitIndexes();
        if (ci.length !== 1 || a.data.index !== 0) throw bad("not exactly one committee, or data.index is not 0");
        const st = headState(),
          committee = Array.from(st.epochCtx.getBeaconCommittee(slot, ci[0]));
        if (!committee.includes(v)) throw bad("aggregator is not in the committee");
        if (a.aggregationBits.bitLen !== committee.length) throw bad("aggregation bits are not the committee's length");
        if (!ST.isAggregatorFromCommitteeLength(committee.length, selectionProof))
          throw bad("selection proof does not select");
        if (!verify(v, signingRoot(ssz.Slot, slot, slot, P.DOMAIN_SELECTION_PROOF), selectionProof))
          throw bad("bad selection proof");
        if (
          !verify(
            v,
            signingRoot(config.getForkTypes(slot).AggregateAndProof, s.message, slot, P.DOMAIN_AGGREGATE_AND_PROOF),
            s.signature,
          )
        )
          throw bad("bad signature");
        const who = a.aggregationBits.getTrueBitIndexes().map((i) => committee[i]);
        if (
          !who.length ||
          !blst.fastAggregateVerify(
            signingRoot(ssz.phase0.AttestationData, a.data, slot, P.DOMAIN_BEACON_ATTESTER),
            who.map(pk),
            blst.Signature.fromBytes(a.signature, true),
          )
        )
          throw bad("the aggregate's signature is bad");
        if (arrival("aggregate", v, slot)) rv(v).aggregates++;
        markLive(epochOf(slot), v);
      }),
    produceSyncCommitteeContribution: async ({ slot, subcommitteeIndex, beaconBlockRoot }) => {
      const subscribed = ([subcommittees, until]) => epochOf(slot) < until && subcommittees.has(subcommitteeIndex);
      if (![...synced.values()].some(subscribed)) throw new ApiError(404, "nobody subscribed to this subcommittee");
      const map = headState().epochCtx.getIndexedSyncCommittee(slot).validatorIndexMap,
        msgs = syncPool.get(slot)?.get(hex(beaconBlockRoot)) ?? new Map();
      const bits = BitArray.fromBitLen(SUB),
        sigs = [];
      for (const [v, sig] of msgs)
        for (const p of map.get(v) ?? [])
          if (Math.floor(p / SUB) === subcommitteeIndex) {
            bits.set(p % SUB, true);
            sigs.push(blst.Signature.fromBytes(sig));
          }
      if (!sigs.length) throw new ApiError(404, "no contribution");
      return {
        data: {
          slot,
          beaconBlockRoot,
          subcommitteeIndex,
          aggregationBits: bits,
          signature: blst.aggregateSignatures(sigs).toBytes(),
        },
      };
    },
    publishContributionAndProofs: async ({ contributionAndProofs }) =>
      each(contributionAndProofs, (s) => {
        const { aggregatorIndex: v, contribution: c, selectionProof } = s.message,
          bad = (why) => refuse("contribution", v, why);
        if (Math.abs(c.slot - nowSlot()) > 1) throw bad(`slot ${c.slot} is not current`);
        const sc = headState().epochCtx.getIndexedSyncCommittee(c.slot);
        if (!(sc.validatorIndexMap.get(v) ?? []).some((p) => Math.floor(p / SUB) === c.subcommitteeIndex))
          throw bad("aggregator is not in the subcommittee");
        if (!ST.isSyncCommitteeAggregator(selectionProof)) throw bad("selection proof does not select");
        if (
          !verify(
            v,
            signingRoot(
              ssz.altair.SyncAggregatorSelectionData,
              { slot: c.slot, subcommitteeIndex: c.subcommitteeIndex },
              c.slot,
              P.DOMAIN_SYNC_COMMITTEE_SELECTION_PROOF,
            ),
            selectionProof,
          )
        )
          throw bad("bad selection proof");
        if (
          !verify(
            v,
            signingRoot(ssz.altair.ContributionAndProof, s.message, c.slot, P.DOMAIN_CONTRIBUTION_AND_PROOF),
            s.signature,
          )
        )
          throw bad("bad signature");
        const who = c.aggregationBits
          .getTrueBitIndexes()
          .map((i) => sc.validatorIndices[c.subcommitteeIndex * SUB + i]);
        if (
          !who.length ||
          !blst.fastAggregateVerify(
            signingRoot(ssz.Root, c.beaconBlockRoot, c.slot, P.DOMAIN_SYNC_COMMITTEE),
            who.map(pk),
            blst.Signature.fromBytes(c.signature, true),
          )
        )
          throw bad("the contribution's signature is bad");
        if (arrival("contribution", v, c.slot, c.subcommitteeIndex)) rv(v).contributions++;
      }),
    prepareBeaconProposer: async ({ proposers }) => {
      for (const p of proposers) {
        preparations.set(Number(p.validatorIndex), p.feeRecipient);
        rv(Number(p.validatorIndex)).feeRecipient = p.feeRecipient;
      }
    },
    registerValidator: async ({ registrations }) =>
      each(registrations, (r) => {
        const v = pubkeyCache.getIndex(r.message.pubkey),
          bad = (why) => refuse("registration", v, why);
        if (v === null) throw bad("unknown public key");
        const d = ST.computeDomain(P.DOMAIN_APPLICATION_BUILDER, config.GENESIS_FORK_VERSION, ZERO);
        if (!verify(v, ST.computeSigningRoot(ssz.bellatrix.ValidatorRegistrationV1, r.message, d), r.signature))
          throw bad("bad signature");
        rv(v).registrations++;
      }),
    prepareBeaconCommitteeSubnet: async ({ subscriptions }) =>
      each(subscriptions, ({ validatorIndex: v, committeeIndex, committeesAtSlot, slot, isAggregator }) => {
        const s = headState();
        const { epochCtx } = Math.abs(epochOf(slot) - s.epochCtx.epoch) <= 1 ? s : stateAt(slot);
        const bad = (why) => refuse("committee subscription", v, why);
        if (committeesAtSlot !== epochCtx.getCommitteeCountPerSlot(epochOf(slot))) throw bad("wrong number of committees");
        if (!epochCtx.getBeaconCommittee(slot, committeeIndex).includes(v)) throw bad("it is not in the committee");
        for (const old of aggregated.keys()) if (old + 2 * SPE < nowSlot()) aggregated.delete(old);
        if (isAggregator) aggregated.set(slot, (aggregated.get(slot) ?? new Set()).add(committeeIndex));
      }),
    prepareSyncCommitteeSubnets: async ({ subscriptions }) => {
      for (const { validatorIndex, syncCommitteeIndices, untilEpoch } of subscriptions)
        synced.set(validatorIndex, [new Set(syncCommitteeIndices.map((place) => Math.floor(place / SUB))), untilEpoch]);
    },
    getLiveness: async ({ epoch, indices }) => ({
      data: indices.map((i) => ({ index: i, isLive: live.get(epoch)?.has(i) ?? false })),
    }),
  },
  events: {
    eventstream: async ({ topics, signal, onEvent }) => {
      const l = { topics, onEvent };
      listeners.add(l);
      signal.addEventListener("abort", () => listeners.delete(l), { once: true });
    },
  },
  debug: {},
  lodestar: {},
  lightclient: {},
  proof: {},
};
function proposerDuties(epoch, root) {
  checkEpoch(epoch);
  const s = headState();
  const list =
    epoch === s.epochCtx.epoch
      ? s.epochCtx.getBeaconProposers()
      : epoch === s.epochCtx.epoch + 1
        ? s.epochCtx.getBeaconProposersNextEpoch()
        : stateAt(epoch * SPE).epochCtx.getBeaconProposers();
  return {
    data: list.map((v, i) => ({
      slot: epoch * SPE + i,
      validatorIndex: v,
      pubkey: s.validators.getReadonly(v).pubkey,
    })),
    meta: { ...EO, dependentRoot: hex(root) },
  };
}
function specConstants() {
  const out = {};
  for (const [k, v] of Object.entries(P))
    if (/^[A-Z][A-Z0-9_]+$/.test(k)) {
      if (k.startsWith("DOMAIN_")) out[k] = hex(v);
      else if (typeof v === "number" || typeof v === "bigint") out[k] = String(v);
    }
  return out;
}
for (const [ns, methods] of Object.entries(api))
  api[ns] = new Proxy(methods, {
    get: (t, k) =>
      t[k] ??
      (async () => {
        log(`not implemented: ${ns}.${String(k)}`);
        throw new ApiError(501, `${ns}.${String(k)} is not implemented here`);
      }),
  });

const server = fastify({
  logger: false,
  bodyLimit: 32 << 20,
  ajv: { customOptions: { coerceTypes: "array" } },
  routerOptions: { querystringParser: (s) => qs.parse(s, { comma: true, parseArrays: true }) },
});
addSszContentTypeParser(server);
server.setErrorHandler((err, req, res) => {
  const code = err.statusCode ?? (err.validation ? 400 : 500);
  if (code === 500) log("ERROR", req.method, req.url, err);
  res.status(code).send({ code, message: err.message, ...(err.failures ? { failures: err.failures } : {}) });
});
server.setNotFoundHandler((req, res) => {
  log(`no route: ${req.method} ${req.url}`);
  res.status(404).send({ code: 404, message: `no route ${req.method} ${req.url}` });
});
server.get("/oracle/report", async () => ({
  ...report,
  head: head.slot,
  finalized: head.state.finalizedCheckpoint.epoch,
}));
registerRoutes(server, config, api, ["beacon", "config", "events", "node", "validator"]);
await server.listen({ host: "127.0.0.1", port: restPort });
log(
  `REST http://127.0.0.1:${restPort}; genesis in ${Math.round((genesisMs - Date.now()) / 1000)} s; ${config.getForkName(0)}, ${process.env.LODESTAR_PRESET} preset, ${anchor.validators.length} validators`,
);
const bye = () => {
  fs.writeFileSync(path.join(dir, "report.json"), JSON.stringify(report, null, 1));
  process.exit(0);
};
process.on("SIGTERM", bye);
process.on("SIGINT", bye);
clock().catch((e) => {
  console.error(e);
  process.exit(1);
});
