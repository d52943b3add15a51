// The forwarder of one island: node island.mjs FOLDER PLACE PEER_PORT,.. REACHABLE_PLACE,.. BEACON_PORT. See islands.mjs.
// Says its process id when it is ready; "cut" and "join" on standard input change whether peers can be reached.

import { spawnSync } from "node:child_process";
import net from "node:net";
import path from "node:path";
import readline from "node:readline";

const [folder, place, ports, places, beaconPort] = process.argv.slice(2);
const peerPorts = ports.split(",").map(Number);
const reachable = places.split(",").map(Number);
const own = Number(place);
let isCut = false;
const ways = new Set(); // connections with peers

spawnSync("ip", ["link", "set", "lo", "up"]);

function forward(from, to, isPeer) {
  return new Promise((ready) => {
    const server = net.createServer((incoming) => {
      if (isPeer && isCut) return incoming.destroy();
      const outgoing = net.connect(to);
      for (const [one, other] of [
        [incoming, outgoing],
        [outgoing, incoming],
      ]) {
        one.setNoDelay?.(true);
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          other.destroy();
          ways.delete(one);
        });
        if (isPeer) ways.add(one);
      }
    });
    server.listen(from, ready);
  });
}

const local = (port) => ({ port, host: "127.0.0.1" });
await Promise.all([
  forward(local(Number(beaconPort)), { path: path.join(folder, `beacon-${own}`) }, false),
  forward({ path: path.join(folder, `peer-${own}`) }, local(peerPorts[own]), true),
  ...reachable
    .filter((peer) => peer !== own)
    .map((peer) => forward(local(peerPorts[peer]), { path: path.join(folder, `peer-${peer}`) }, true)),
]);
readline.createInterface({ input: process.stdin }).on("line", (word) => {
  isCut = word === "cut";
  if (isCut) for (const way of ways) way.destroy();
  console.log(word);
});
process.stdin.once("end", () => process.exit(0));
console.log(process.pid);
