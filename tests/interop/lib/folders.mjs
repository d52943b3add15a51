// Data folders, read into memory, so that the self-test can hand tampered copies to the same judges.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { decrypt } from "@chainsafe/bls-keystore";

const LOCK = "cluster-lock.json";
const DEFINITION = "cluster-definition.json";

/** Data folders at `path`: itself, or its children that hold a lock, in the order of their numbers. */
function dataFolders(path) {
  if (existsSync(join(path, LOCK))) return [path];
  const children = readdirSync(path)
    .map((name) => join(path, name))
    .filter((child) => statSync(child).isDirectory() && existsSync(join(child, LOCK)))
    .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  if (children.length === 0) throw new Error(`${path}: no ${LOCK} in it or in its sub-folders`);
  return children;
}

/** One operator's folder: `{ name, files }`, files by relative path, as text. */
function readFolder(path) {
  const files = new Map();
  const add = (name, from) => files.set(name, readFileSync(from, "utf8"));
  for (const name of readdirSync(path)) {
    if (/^(charon-enr-private-key|cluster-.*\.json|deposit-data.*\.json)$/.test(name)) add(name, join(path, name));
  }
  const keys = join(path, "validator_keys");
  if (existsSync(keys)) {
    for (const name of readdirSync(keys)) {
      if (/^keystore-.*\.(json|txt)$/.test(name)) add(`validator_keys/${name}`, join(keys, name));
    }
  }
  // Other software's example clusters keep the common definition one folder up.
  const above = join(dirname(path), DEFINITION);
  if (!files.has(DEFINITION) && existsSync(above)) add(DEFINITION, above);
  return { name: `${basename(dirname(path))}/${basename(path)}`, path, files };
}

/** The clusters in the given folders: operators with equal definitions belong together. */
export function readClusters(paths) {
  const clusters = new Map();
  for (const path of paths.flatMap(dataFolders)) {
    const folder = readFolder(path);
    const key = JSON.parse(folder.files.get(LOCK)).cluster_definition.definition_hash;
    if (!clusters.has(key)) clusters.set(key, { name: basename(dirname(path)), folders: [] });
    clusters.get(key).folders.push(folder);
  }
  return [...clusters.values()];
}

export const lockOf = (folder) => JSON.parse(folder.files.get(LOCK));

/** `[{ index, name, text, password }]` in order of the validators, from keystore-N or keystore-insecure-N. */
export function keystoresOf(folder) {
  const found = [];
  for (const [name, text] of folder.files) {
    const match = /^validator_keys\/keystore-(?:insecure-)?(\d+)\.json$/.exec(name);
    if (!match) continue;
    const password = folder.files.get(name.replace(/\.json$/, ".txt"));
    if (password === undefined) throw new Error(`${name}: no password file beside it`);
    found.push({ index: Number(match[1]), name, text, password });
  }
  return found.sort((a, b) => a.index - b.index);
}

const decrypted = new Map();

/** The secret share in a keystore (32 bytes), decrypted once. */
export function secretOf(keystore) {
  const key = keystore.password + keystore.text;
  if (!decrypted.has(key)) decrypted.set(key, decrypt(JSON.parse(keystore.text), keystore.password));
  return decrypted.get(key);
}
