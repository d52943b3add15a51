#!/usr/bin/env node
// Archives of `backup` and `export` are age files around a tar: the implementation of age by its author opens them, `tar` unpacks
// them, and what it makes of a folder is imported. Where the program `age` is installed, it opens them, too.
//
// node archives.mjs CONCLAVE FOLDER, where FOLDER is one operator's folder of a finished ceremony. It is not changed.

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { Decrypter, Encrypter } from "age-encryption";

const [conclave, folder] = process.argv.slice(2);
if (!folder) {
  console.error("usage: archives.mjs CONCLAVE FOLDER");
  process.exit(2);
}

const PASSWORD = "corréct horse battery";
const DATABASE = "slashing-protection.redb";
const MARK = "RESTORED";
const ABOUT = "ABOUT-THIS-ARCHIVE.txt";
const work = fs.mkdtempSync(path.join(os.tmpdir(), "conclave-archives-"));
process.on("exit", () => fs.rmSync(work, { recursive: true, force: true }));
const place = (name) => path.join(work, name);
fs.writeFileSync(place("password"), `${PASSWORD}\n`, { mode: 0o600 });

let failed = 0;
function check(ok, text) {
  console.log(`${ok ? "ok  " : "FAIL"}  ${text}`);
  if (!ok) failed += 1;
}

/** Runs a program; its output only if it did not end as expected. */
function run(program, words, { code = 0, input, cwd } = {}) {
  const { status, stdout, stderr } = spawnSync(program, words, { input, cwd, maxBuffer: 1 << 30 });
  if (status !== code) throw new Error(`${program} ${words.join(" ")} ended with ${status}: ${stdout}${stderr}`);
  return stdout;
}
const inside = (data, ...words) => run(conclave, ["--data-dir", data, ...words, "--password-file", place("password")]);

/** Names of all files below a folder with their contents. */
function files(root, prefix = "") {
  const found = new Map();
  for (const entry of fs.readdirSync(path.join(root, prefix), { withFileTypes: true })) {
    const name = path.posix.join(prefix, entry.name);
    if (entry.isDirectory()) for (const [inner, bytes] of files(root, name)) found.set(inner, bytes);
    else if (entry.isFile()) found.set(name, fs.readFileSync(path.join(root, name)));
  }
  return found;
}

function same(one, other, without = []) {
  const keep = (map) => [...map].filter(([name]) => ![...without, "ceremony/in-use"].includes(name)).sort();
  const [a, b] = [keep(one), keep(other)];
  return a.length === b.length && a.every(([name, bytes], i) => name === b[i][0] && bytes.equals(b[i][1]));
}

async function open(archive) {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(PASSWORD);
  return decrypter.decrypt(fs.readFileSync(archive));
}

const original = place("original");
fs.cpSync(folder, original, { recursive: true });
const before = files(original);

// A backup, as others see it.
inside(original, "backup", place("backup.age"));
check(same(before, files(original)), "a backup leaves the folder as it was");
const header = fs.readFileSync(place("backup.age")).subarray(0, 200).toString("latin1");
check(/^age-encryption\.org\/v1\n-> scrypt \S+ 18\n/.test(header), "it is an age file with a password, work factor 18");
const tape = await open(place("backup.age"));
fs.mkdirSync(place("unpacked"));
run("tar", ["x", "-C", place("unpacked")], { input: tape });
const unpacked = files(place("unpacked"));
check(unpacked.has(MARK) && unpacked.has(ABOUT), "it says what it is, and bears the mark of a restored folder");
check(!unpacked.has(DATABASE), "it holds no slashing protection");
check(same(before, unpacked, [DATABASE, MARK, ABOUT]), "and everything else");
const modes = ["validator_keys", "ceremony"].map((name) => fs.statSync(place(`unpacked/${name}`)).mode & 0o777);
check(modes.every((mode) => mode === 0o700), "its folders are private");
const tool = spawnSync("age", ["--version"]);
if (tool.status === 0) {
  const words = `import os, pty, sys
pid, tty = pty.fork()
if pid == 0:
    os.execvp("age", ["age", "-d", "-o", sys.argv[2], sys.argv[1]])
seen = b""
while b"passphrase" not in seen:
    seen += os.read(tty, 1024)
os.write(tty, sys.argv[3].encode() + b"\\n")
try:
    while os.read(tty, 1024): pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))`;
  run("python3", ["-c", words, place("backup.age"), place("by-age.tar"), PASSWORD]);
  check(fs.readFileSync(place("by-age.tar")).equals(Buffer.from(tape)), `age ${tool.stdout.toString().trim()} opens it, too`);
}

// The other way round: what tar and age make of a folder.
const encrypted = async (bytes, workFactor = 18) => {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(PASSWORD);
  encrypter.setScryptWorkFactor(workFactor);
  return encrypter.encrypt(new Uint8Array(bytes));
};
for (const format of ["gnu", "pax", "ustar"]) {
  const tar = run("tar", ["c", `--format=${format}`, "-C", original, "."]);
  fs.writeFileSync(place(`${format}.age`), await encrypted(tar));
  inside(place(`from-${format}`), "import", place(`${format}.age`));
  const made = files(place(`from-${format}`));
  check(made.has(MARK) && same(before, made, [DATABASE, MARK]), `a folder that tar (${format}) and age made an archive of is imported`);
}

// What is not to be read.
const refused = async (what, bytes) => {
  fs.writeFileSync(place("bad.age"), bytes);
  const data = place("bad");
  const words = ["--data-dir", data, "import", place("bad.age"), "--password-file", place("password")];
  const { status, stderr } = spawnSync(conclave, words);
  const left = fs.existsSync(data) ? fs.readdirSync(data) : [];
  check(status === 3 && left.length === 0, `refused: ${what} (${String(stderr).split("\n")[1] ?? ""})`);
};
const good = run("tar", ["c", "-C", original, "."]);
await refused("a work factor that is too large", await encrypted(good, 20));
fs.symlinkSync("/etc/passwd", path.join(original, "exits"));
await refused("a link", await encrypted(run("tar", ["c", "-C", original, "."])));
fs.rmSync(path.join(original, "exits"));
fs.writeFileSync(place("stranger"), "x");
await refused("a path outside", await encrypted(run("tar", ["c", "-P", "-C", original, "cluster-lock.json", "../stranger"])));
await refused("an absolute path", await encrypted(run("tar", ["c", "-P", place("stranger")])));
await refused("a file twice", await encrypted(run("tar", ["c", "-C", original, "cluster-lock.json", "./cluster-lock.json"])));
await refused("two tars", await encrypted(Buffer.concat([good, good])));
const sealed = Buffer.from(await encrypted(good));
sealed[sealed.length - 1] ^= 1;
await refused("its last byte changed", sealed);
await refused("half of it", sealed.subarray(0, sealed.length / 2));

console.log(failed ? `archives: ${failed} checks failed` : "archives: PASS");
process.exit(failed ? 1 : 0);
