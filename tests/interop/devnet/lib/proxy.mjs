// An HTTP proxy between one operator and the chain's beacon node, which can make that node a bad one.
// What it does is a set of wishes, changed at any time with `set`; `set()` makes it honest again.
//
// | Wish | The beacon node then |
// |---|---|
// | `lag: ms` | answers every request that much later |
// | `head: "older"` | names the head's parent as the head, wherever it is asked, and tells no new heads |
// | `head: "unknown"` | names a head that nobody knows |
// | `status: 503` | answers everything with that status |
// | `rubbish: true` | answers 200 with bytes that mean nothing |
// | `silent: true` | takes requests and never answers |
// | `gone: true` | is not there: connections are refused |
// | `bare: true` | gives blocks without a word of which fork and kind they are, and `null` for whatever it may leave out |
// | `building: ms` | needs that much longer to make a block |
// | `events: ms` | tells events that much later; `events: "none"` tells none |
// | `behind: ms` | has each block that much later: till then its head, wherever it names it, is the block before |
// | `mute: "..."` | takes requests for what begins so and never answers them |

import http from "node:http";

const HONEST = Object.freeze({
  lag: 0,
  head: "true",
  status: 0,
  rubbish: false,
  silent: false,
  gone: false,
  bare: false,
  building: 0,
  events: 0,
  behind: 0,
  mute: "",
});
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const hex = (bytes) => "0x" + Buffer.from(bytes).toString("hex");

export class Proxy {
  #chain;
  #port;
  #server = null;
  #agent = new http.Agent({ keepAlive: true });
  #sockets = new Set();
  #streams = new Set();
  /** When a block became the chain's head, by root: ms since 1970. */
  #came = new Map();
  wishes = { ...HONEST };
  requests = 0;
  /** When an operator was first told what to attest to, by slot, and when it gave attestations: ms since 1970. */
  told = new Map();
  given = [];

  /** `chain` is the port of the chain's node, `port` the one to listen on (a number, or the path of a socket). */
  constructor(chain, port) {
    this.#chain = chain;
    this.#port = port;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Listens until `close` or until the node is wished away. */
  async open() {
    if (this.#server) return;
    const server = http.createServer((request, response) => {
      this.#answer(request, response).catch(() => response.destroy());
    });
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    await new Promise((resolve, reject) => {
      server.once("error", reject);
      const where = typeof this.#port === "number" ? { port: this.#port, host: "127.0.0.1" } : { path: this.#port };
      server.listen(where, resolve);
    });
    this.#server = server;
  }

  async close() {
    const server = this.#server;
    if (!server) return;
    this.#server = null;
    const closed = new Promise((done) => server.close(done));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Changes the wishes; whatever is not named becomes honest. */
  async set(wishes = {}) {
    this.wishes = { ...HONEST, ...wishes };
    const { gone, status, rubbish, silent } = this.wishes;
    if (gone || status || rubbish || silent) for (const stream of this.#streams) stream.destroy();
    if (gone) await this.close();
    else await this.open();
  }

  async #answer(request, response) {
    this.requests += 1;
    const body = await bytesOf(request);
    if (request.method === "POST" && request.url.endsWith("/beacon/pool/attestations")) this.given.push(Date.now());
    const { lag, status, rubbish, silent, bare, building, behind, mute } = this.wishes;
    const makesBlock = request.url.startsWith("/eth/v3/validator/blocks/");
    if (lag) await sleep(lag);
    if (building && makesBlock) await sleep(building);
    if (silent || (mute && request.url.startsWith(mute))) return;
    if (status) {
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify({ code: status, message: "the harness says so" }));
      return;
    }
    if (rubbish) {
      response.writeHead(200, { "content-type": request.headers.accept?.split(/[,;]/)[0] ?? "application/json" });
      response.end(Buffer.from('{"data":[{"\u0000":1e999},', "utf8"));
      return;
    }
    const answer = await this.#ask(request.method, request.url, request.headers, body);
    const { "transfer-encoding": _, connection: __, ...headers } = answer.headers;
    if (request.url.startsWith("/eth/v1/events")) {
      response.writeHead(answer.statusCode, headers);
      response.flushHeaders();
      this.#passEvents(answer, response);
      return;
    }
    let content = await bytesOf(answer);
    if (bare) {
      if (makesBlock) for (const name of Object.keys(headers)) if (name.startsWith("eth-")) delete headers[name];
      content = withoutWords(String(headers["content-type"]), content, makesBlock);
      delete headers["content-length"];
    }
    if ((this.wishes.head !== "true" || behind) && answer.statusCode === 200) {
      content = await this.#lie(request.url, String(headers["content-type"]), content);
      delete headers["content-length"];
    }
    response.writeHead(answer.statusCode, headers);
    response.end(content);
    const [, slot] = /attestation_data\?(?:.*&)?slot=(\d+)/.exec(request.url) ?? [];
    if (slot && answer.statusCode === 200 && !this.told.has(Number(slot))) this.told.set(Number(slot), Date.now());
  }

  #ask(method, path, headers, body) {
    return new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port: this.#chain, method, path, headers, agent: this.#agent };
      const request = http.request({ ...options, headers: { ...headers, host: `127.0.0.1:${this.#chain}` } }, resolve);
      request.once("error", reject);
      request.end(body);
    });
  }

  async #json(path) {
    return JSON.parse(await bytesOf(await this.#ask("GET", path, { accept: "application/json" })));
  }

  #passEvents(answer, response) {
    this.#streams.add(response);
    response.once("close", () => {
      this.#streams.delete(response);
      answer.destroy();
    });
    answer.once("end", () => response.end());
    answer.once("error", () => response.destroy());
    let rest = "";
    answer.setEncoding("utf8").on("data", (text) => {
      rest += text;
      for (let end = rest.indexOf("\n\n"); end >= 0; end = rest.indexOf("\n\n")) {
        const event = rest.slice(0, end + 2);
        rest = rest.slice(end + 2);
        const { events, head, behind } = this.wishes;
        const [, root] = /"block":"(0x[0-9a-f]{64})"/.exec(event) ?? [];
        if (root && !this.#came.has(root)) this.#came.set(root, Date.now());
        if (events === "none" || head === "older") continue;
        const told = head === "unknown" ? event.replace(/("block":"0x[0-9a-f]*)[0-9a-f]{8}"/, '$1deadbeef"') : event;
        setTimeout(() => response.writableEnded || response.write(told), Math.max(events, behind));
      }
    });
  }

  /** Whether this node has not got a block yet that the chain has. */
  #isNew(root) {
    return Date.now() < (this.#came.get(root) ?? 0) + this.wishes.behind;
  }

  /** The answer with another head, where it names one. */
  async #lie(url, type, content) {
    const path = url.split("?")[0];
    if (path === "/eth/v1/node/syncing" && this.wishes.behind) {
      const answer = JSON.parse(content);
      const { data } = await this.#json("/eth/v1/beacon/headers/head");
      if (this.#isNew(data.root)) {
        const before = await this.#json(`/eth/v1/beacon/headers/${data.header.message.parent_root}`);
        answer.data.head_slot = before.data.header.message.slot;
      }
      return JSON.stringify(answer);
    }
    if (path === "/eth/v1/validator/attestation_data") {
      if (type.includes("octet-stream")) {
        const data = Buffer.from(content); // slot, index, head, source, target: 8 + 8 + 32 + 40 + 40 bytes
        const head = hex(data.subarray(16, 48));
        const other = await this.#otherHead(head);
        Buffer.from(other.slice(2), "hex").copy(data, 16);
        if (hex(data.subarray(96, 128)) === head) Buffer.from(other.slice(2), "hex").copy(data, 96);
        return data;
      }
      const answer = JSON.parse(content);
      const head = answer.data.beacon_block_root;
      answer.data.beacon_block_root = await this.#otherHead(head);
      // Whoever has not seen the epoch's first block has another target, too.
      if (answer.data.target.root === head) answer.data.target.root = answer.data.beacon_block_root;
      return JSON.stringify(answer);
    }
    if (path === "/eth/v1/beacon/blocks/head/root" || path === "/eth/v1/beacon/headers/head") {
      const answer = JSON.parse(content);
      const other = await this.#otherHead(answer.data.root);
      if (this.wishes.head === "true" && other !== answer.data.root && path.endsWith("/headers/head"))
        return JSON.stringify(await this.#json(`/eth/v1/beacon/headers/${other}`));
      answer.data.root = other;
      return JSON.stringify(answer);
    }
    return content;
  }

  async #otherHead(root) {
    if (this.wishes.head === "true" && !this.#isNew(root)) return root;
    if (this.wishes.head === "unknown") return root.slice(0, -8) + "deadbeef";
    const { data } = await this.#json(`/eth/v1/beacon/headers/${root}`);
    return Number(data.header.message.slot) === 0 ? root : data.header.message.parent_root;
  }
}

/** An answer in JSON as programs write it that have `null` for what they do not know, and for lists without items. */
function withoutWords(type, content, isBlock) {
  if (!type.startsWith("application/json") || content.length === 0) return content;
  const answer = JSON.parse(content);
  const nothing = (object, ...names) => names.filter((name) => name in object).forEach((name) => (object[name] = null));
  nothing(answer, "execution_optimistic", "finalized", "failures");
  if (Array.isArray(answer.data) && answer.data.length === 0) answer.data = null;
  if (answer.data?.head_slot !== undefined) nothing(answer.data, "is_optimistic", "el_offline");
  if (isBlock) {
    delete answer.execution_payload_blinded;
    answer.version = null;
  }
  return JSON.stringify(answer);
}

async function bytesOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}
