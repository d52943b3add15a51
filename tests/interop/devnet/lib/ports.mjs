// Ports of the loopback interface for the programs of one harness.

import net from "node:net";

// Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 elsewhere), which could take one
// away before the program that is to listen there has started.
const [FIRST, LAST, BLOCK] = [10_000, 30_000, 40];

const listen = (port) =>
  new Promise((resolve) => {
    const server = net.createServer().once("error", () => resolve(null));
    server.listen(port, "127.0.0.1", () => resolve(server.unref()));
  });

/** Free ports, fewer than 40. Two harnesses at once get different ones: the block's first port is held to the end. */
export async function freePorts(count) {
  if (count >= BLOCK) throw new Error(`no more than ${BLOCK - 1} ports at once`);
  for (let tries = 0; tries < 200; tries++) {
    const start = FIRST + BLOCK * Math.floor(Math.random() * ((LAST - FIRST) / BLOCK));
    const held = await listen(start);
    if (!held) continue;
    const ports = Array.from({ length: count }, (_, i) => start + 1 + i);
    const servers = await Promise.all(ports.map(listen));
    await Promise.all(servers.map((server) => server && new Promise((done) => server.close(done))));
    if (servers.every(Boolean)) return ports;
    held.close();
  }
  throw new Error("no free ports");
}
