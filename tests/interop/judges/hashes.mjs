// @chainsafe/ssz recomputes the config, definition and lock hashes from the container layout.

import { configHash, definitionHash, lockHash } from "../lib/containers.mjs";
import { hex, mustEqual } from "../lib/bytes.mjs";

export const name = "hash trees / @chainsafe/ssz";

export function subjects(cluster) {
  return cluster.folders.flatMap((folder) =>
    [...folder.files.keys()]
      .filter((file) => /^cluster-(definition|lock)\.json$/.test(file))
      .map((file) => {
        const text = folder.files.get(file);
        return { file: `${folder.name}/${file}`, key: text, check: () => judge(JSON.parse(text)) };
      }),
  );
}

function judge(parsed) {
  const definition = parsed.cluster_definition ?? parsed;
  mustEqual(hex(configHash(definition)), definition.config_hash, "config_hash");
  mustEqual(hex(definitionHash(definition)), definition.definition_hash, "definition_hash");
  if (parsed.cluster_definition) mustEqual(hex(lockHash(parsed)), parsed.lock_hash, "lock_hash");
}
