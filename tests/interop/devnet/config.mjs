// The devnet's configuration, shared by the genesis builder and the nodes. Import it before any @lodestar package:
// the preset is chosen from the environment when @lodestar/params loads.
process.env.LODESTAR_PRESET ??= "minimal";
const FORKS = ["altair", "bellatrix", "capella", "deneb", "electra", "fulu", "gloas"];

/** fork: the fork active from genesis; slotSeconds: seconds a slot; upgrades: {fork: epoch} for later forks */
export function devnetParams({ fork = "fulu", slotSeconds = 4, upgrades = {} } = {}) {
  const at = FORKS.indexOf(fork);
  if (at < 0) throw new Error(`unknown fork ${fork}`);
  const p = {
    PRESET_BASE: process.env.LODESTAR_PRESET,
    CONFIG_NAME: "dvtest",
    GENESIS_FORK_VERSION: "0x10000038",
    GENESIS_DELAY: "0",
    MIN_GENESIS_TIME: "0",
    MIN_GENESIS_ACTIVE_VALIDATOR_COUNT: "1",
    SECONDS_PER_SLOT: String(slotSeconds),
    SLOT_DURATION_MS: String(Math.round(slotSeconds * 1000)),
    SECONDS_PER_ETH1_BLOCK: String(slotSeconds),
    ETH1_FOLLOW_DISTANCE: "1",
    TERMINAL_TOTAL_DIFFICULTY: "0",
    DEPOSIT_CHAIN_ID: "1",
    DEPOSIT_NETWORK_ID: "1",
    DEPOSIT_CONTRACT_ADDRESS: "0x1234567890123456789012345678901234567890",
    SHARD_COMMITTEE_PERIOD: "2",
    MIN_VALIDATOR_WITHDRAWABILITY_DELAY: "1",
  };
  FORKS.forEach((f, i) => {
    p[`${f.toUpperCase()}_FORK_VERSION`] = `0x${(0x20 + i * 0x10).toString(16)}000038`;
    p[`${f.toUpperCase()}_FORK_EPOCH`] =
      i <= at ? "0" : upgrades[f] !== undefined ? String(upgrades[f]) : "18446744073709551615";
  });
  return p;
}
export const paramsToYaml = (p) =>
  Object.entries(p)
    .map(([k, v]) => `${k}: ${v}`)
    .join("\n") + "\n";

export async function lodestarConfig(params) {
  const { createChainForkConfig, chainConfigFromJson } = await import("@lodestar/config");
  const { minimalChainConfig, mainnetChainConfig } = await import("@lodestar/config/configs");
  const base = params.PRESET_BASE === "mainnet" ? mainnetChainConfig : minimalChainConfig;
  return createChainForkConfig({ ...base, ...chainConfigFromJson(params) });
}
