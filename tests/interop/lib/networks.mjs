// What signatures depend on beside the cluster definition. The definition holds only the fork version.

import { readFileSync } from "node:fs";
import { parse } from "smol-toml";

const KNOWN = [
  ["mainnet", "00000000", 1, 1606824023],
  ["goerli", "00001020", 5, 1616508000],
  ["gnosis", "00000064", 100, 1638993340],
  ["chiado", "0000006f", 10200, 1665396300],
  ["sepolia", "90000069", 11155111, 1655733600],
  ["hoodi", "10000910", 560048, 1742213400],
  ["holesky", "01017000", 17000, 1696000704],
].map(([name, fork, chainId, genesisTime]) => ({ name, forkVersion: "0x" + fork, chainId, genesisTime }));

/** The known networks and those of the given network files (TOML), later ones first. */
export function networks(files) {
  const custom = files.map((file) => {
    const facts = parse(readFileSync(file, "utf8"));
    const forkVersion = facts.genesis_fork_version.toLowerCase();
    return {
      name: facts.name,
      forkVersion: forkVersion.startsWith("0x") ? forkVersion : "0x" + forkVersion,
      chainId: Number(facts.chain_id),
      genesisTime: Number(facts.genesis_time),
    };
  });
  return [...custom.reverse(), ...KNOWN];
}

export function networkOf(definition, list) {
  const found = list.find((network) => network.forkVersion === definition.fork_version);
  if (!found) throw new Error(`unknown fork version ${definition.fork_version}: pass --network-file FILE`);
  return found;
}
