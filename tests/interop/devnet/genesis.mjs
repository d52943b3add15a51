// usage: node genesis.mjs OUT_DIR --time UNIX --interop N [--fork fulu] [--slot-seconds 4] [--upgrade fulu=2]
//        [--genesis-fork-version 0x10000038] [--withdrawal-address 0x..] [--first ours] PUBKEY...
// Writes OUT_DIR/config.yaml and OUT_DIR/genesis.ssz: N interop validators first, then the given public keys, all active
// from genesis with 32 ETH. With --first ours one of the given validators proposes in slot 1.
import fs from "node:fs";
import path from "node:path";
import { devnetParams, paramsToYaml, lodestarConfig } from "./config.mjs";

const argv = process.argv.slice(2);
const opt = (name, def) => {
  const i = argv.indexOf(name);
  return i < 0 ? def : argv.splice(i, 2)[1];
};
const time = Number(opt("--time", Math.floor(Date.now() / 1000) + 20)),
  interop = Number(opt("--interop", "16")),
  fork = opt("--fork", "fulu");
const slotSeconds = Number(opt("--slot-seconds", "4")),
  upgrade = opt("--upgrade");
const genesisVersion = opt("--genesis-fork-version");
const withdrawal = opt("--withdrawal-address", "0x" + "11".repeat(20));
const first = opt("--first");
const [out, ...pubkeys] = argv;
const params = {
  ...devnetParams({ fork, slotSeconds, upgrades: upgrade ? Object.fromEntries([upgrade.split("=")]) : {} }),
  MIN_GENESIS_TIME: String(time),
  ...(genesisVersion ? { GENESIS_FORK_VERSION: genesisVersion } : {}),
};

const { ssz } = await import("@lodestar/types");
const { createBeaconConfig } = await import("@lodestar/config");
const P = await import("@lodestar/params");
const ST = await import("@lodestar/state-transition");
const { createPubkeyCache, createCachedBeaconState } = ST;
const { initializeProposerLookahead } = await import("./node_modules/@lodestar/state-transition/lib/util/fulu.js");
const config = await lodestarConfig(params);
const seq = config.getForkSeq(0),
  types = config.getForkTypes(0);

const secrets = ST.interopSecretKeys(interop);
const keys = [
  ...secrets.map((s) => s.toPublicKey().toBytes()),
  ...pubkeys.map((p) => Uint8Array.from(Buffer.from(p.replace(/^0x/, ""), "hex"))),
];
const state = types.BeaconState.defaultViewDU();
state.genesisTime = time;
state.fork = ssz.phase0.Fork.toViewDU({
  previousVersion: config.getForkVersion(0),
  currentVersion: config.getForkVersion(0),
  epoch: 0,
});
state.latestBlockHeader = ssz.phase0.BeaconBlockHeader.toViewDU({
  ...ssz.phase0.BeaconBlockHeader.defaultValue(),
  bodyRoot: types.BeaconBlockBody.hashTreeRoot(types.BeaconBlockBody.defaultValue()),
});
state.eth1DepositIndex = keys.length;
for (const [i, pubkey] of keys.entries()) {
  const wc =
    i < interop
      ? new Uint8Array(32)
      : Uint8Array.from(Buffer.from("01" + "00".repeat(11) + withdrawal.slice(2), "hex"));
  state.validators.push(
    types.BeaconState.fields.validators.elementType.toViewDU({
      pubkey,
      withdrawalCredentials: wc,
      effectiveBalance: P.MAX_EFFECTIVE_BALANCE,
      slashed: false,
      activationEligibilityEpoch: 0,
      activationEpoch: 0,
      exitEpoch: P.FAR_FUTURE_EPOCH,
      withdrawableEpoch: P.FAR_FUTURE_EPOCH,
    }),
  );
  state.balances.push(P.MAX_EFFECTIVE_BALANCE);
  state.previousEpochParticipation.push(0);
  state.currentEpochParticipation.push(0);
  state.inactivityScores.push(0);
}
state.commit();
state.genesisValidatorsRoot = state.validators.hashTreeRoot();
// The execution block before genesis is invented, and who proposes follows from it.
const increments = new Uint16Array(keys.length).fill(P.MAX_EFFECTIVE_BALANCE / P.EFFECTIVE_BALANCE_INCREMENT);
let elHash;
for (let byte = 0x0b; ; byte++) {
  if (byte > 0xff) throw new Error("no genesis has one of these validators propose in slot 1");
  elHash = new Uint8Array(32).fill(byte);
  state.randaoMixes = ssz.phase0.RandaoMixes.toViewDU(Array(P.EPOCHS_PER_HISTORICAL_VECTOR).fill(elHash));
  state.commit();
  const { syncCommittee } = ST.getNextSyncCommittee(seq, state, Uint32Array.from(keys.keys()), increments);
  state.currentSyncCommittee = ssz.altair.SyncCommittee.toViewDU(syncCommittee);
  state.nextSyncCommittee = ssz.altair.SyncCommittee.toViewDU(syncCommittee);
  state.commit();
  if (first !== "ours" || proposers()[1] >= interop) break;
}
state.eth1Data = ssz.phase0.Eth1Data.toViewDU({
  depositRoot: new Uint8Array(32),
  depositCount: BigInt(keys.length),
  blockHash: elHash,
});
const header = types.BeaconState.fields.latestExecutionPayloadHeader.defaultValue();
Object.assign(header, {
  blockHash: elHash,
  prevRandao: elHash,
  timestamp: time,
  gasLimit: 30_000_000,
  baseFeePerGas: 7n,
});
state.latestExecutionPayloadHeader = types.BeaconState.fields.latestExecutionPayloadHeader.toViewDU(header);
if (seq >= P.ForkSeq.electra) state.depositRequestsStartIndex = P.UNSET_DEPOSIT_REQUESTS_START_INDEX;
state.commit();
if (seq >= P.ForkSeq.fulu) {
  state.proposerLookahead = ssz.fulu.ProposerLookahead.toViewDU(proposers());
  state.commit();
}
/** The proposers from slot 0 on, by their index. */
function proposers() {
  const cached = createCachedBeaconState(
    state,
    { config: createBeaconConfig(config, state.genesisValidatorsRoot), ...emptyCaches() },
    { skipSyncPubkeys: false },
  );
  if (seq >= P.ForkSeq.fulu) return initializeProposerLookahead(cached);
  return Array.from({ length: P.SLOTS_PER_EPOCH }, (_, slot) => cached.epochCtx.getBeaconProposer(slot));
}
function emptyCaches() {
  const x = ST.createEmptyEpochCacheImmutableData(config, { genesisValidatorsRoot: state.genesisValidatorsRoot });
  delete x.config;
  return x;
}
fs.mkdirSync(out, { recursive: true });
fs.writeFileSync(path.join(out, "config.yaml"), paramsToYaml(params));
fs.writeFileSync(path.join(out, "params.json"), JSON.stringify(params, null, 1));
fs.writeFileSync(path.join(out, "genesis.ssz"), state.serialize());
console.log(
  JSON.stringify({
    fork,
    preset: process.env.LODESTAR_PRESET,
    validators: keys.length,
    ours: pubkeys.length,
    genesisTime: time,
    genesisValidatorsRoot: "0x" + Buffer.from(state.genesisValidatorsRoot).toString("hex"),
  }),
);
process.exit(0);
