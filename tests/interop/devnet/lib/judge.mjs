// What the chain says about some validators: read from the blocks themselves and from what its node was sent.
// Nothing that an operator says about itself counts here.
//
// An attestation is on time when the first block after its slot carries it. Its source is right when it is in a block at
// all: the state transition refuses any other. Head and target are compared with the chain's own blocks.

const bytes = (hex) => Buffer.from(hex.replace(/^0x/, ""), "hex");
const bit = (field, i) => (field[i >> 3] >> (i & 7)) & 1;

/**
 * Judges the slots from `first` to `last` (the block after `last` must be there or be missed for good).
 * Returns the duties, each `{ kind, slot, validator, ok, why }`, and the chain's own report.
 */
export async function judge(url, pubkeys, first, last) {
  const chain = new Chain(url);
  await chain.read(last + 1);
  const validators = await chain.validators(pubkeys);
  const duties = [];
  for (let epoch = chain.epochOf(first); epoch <= chain.epochOf(last); epoch++) {
    duties.push(...(await chain.attestations(epoch, validators)));
    duties.push(...(await chain.proposals(epoch, validators)));
    duties.push(...(await chain.syncBits(epoch, validators)));
  }
  const report = await chain.get("/oracle/report");
  return {
    validators,
    duties: duties.filter(({ slot }) => slot >= first && slot <= last),
    report,
  };
}

class Chain {
  #blocks = new Map();

  constructor(url) {
    this.url = url;
  }

  async get(path, missing) {
    const response = await fetch(this.url + path, { headers: { accept: "application/json" } });
    if (response.status === 404 && missing !== undefined) return missing;
    if (!response.ok) throw new Error(`${path}: ${response.status} ${(await response.text()).slice(0, 200)}`);
    return response.json();
  }

  async read(last) {
    this.last = last;
    this.slotsPerEpoch = Number((await this.get("/eth/v1/config/spec")).data.SLOTS_PER_EPOCH);
    for (let slot = 0; slot <= last; slot++) {
      const header = await this.get(`/eth/v1/beacon/headers/${slot}`, null);
      if (!header) continue;
      const { message } = (await this.get(`/eth/v2/beacon/blocks/${slot}`)).data;
      this.#blocks.set(slot, { root: header.data.root, ...message });
    }
  }

  epochOf(slot) {
    return Math.floor(slot / this.slotsPerEpoch);
  }

  /** The root of the last block that is not later than the slot. */
  rootAt(slot) {
    for (let s = slot; s >= 0; s--) if (this.#blocks.has(s)) return this.#blocks.get(s).root;
    throw new Error(`no block up to slot ${slot}`);
  }

  async validators(pubkeys) {
    const data = [];
    // Few at a time: requests are not as long as one likes.
    for (let from = 0; from < pubkeys.length; from += 16) {
      const ids = pubkeys.slice(from, from + 16).map((key) => `id=${key}`);
      data.push(...(await this.get(`/eth/v1/beacon/states/head/validators?${ids.join("&")}`)).data);
    }
    if (data.length !== pubkeys.length)
      throw new Error(`the chain knows ${data.length} of ${pubkeys.length} validators`);
    return new Set(data.map(({ index }) => Number(index)));
  }

  async attestations(epoch, validators) {
    const from = epoch * this.slotsPerEpoch;
    const near = Math.min(from + this.slotsPerEpoch, this.last);
    const { data: committees } = await this.get(`/eth/v1/beacon/states/${this.#known(near)}/committees?epoch=${epoch}`);
    const size = new Map(committees.map((c) => [`${c.slot}/${c.index}`, c.validators.length]));
    return committees.flatMap((committee) =>
      committee.validators.flatMap((index, position) => {
        const validator = Number(index);
        if (!validators.has(validator)) return [];
        const duty = { kind: "attestation", slot: Number(committee.slot), validator };
        return [{ ...duty, ...this.#attested(duty.slot, Number(committee.index), position, size, this.rootAt(from)) }];
      }),
    );
  }

  #attested(slot, committee, position, size, target) {
    let due = null; // the first block after the slot
    for (let s = slot + 1; s <= Math.min(slot + this.slotsPerEpoch, this.last); s++) {
      const block = this.#blocks.get(s);
      if (!block) continue;
      due ??= s;
      for (const attestation of block.body.attestations) {
        if (Number(attestation.data.slot) !== slot || !this.#holds(attestation, committee, position, size)) continue;
        const faults = [];
        if (s !== due) faults.push(`late: in block ${s}, not ${due}`);
        if (attestation.data.beacon_block_root !== this.rootAt(slot)) faults.push("wrong head");
        if (attestation.data.target.root !== target) faults.push("wrong target");
        return { ok: faults.length === 0, why: faults.join(", ") };
      }
    }
    return { ok: false, why: "missed" };
  }

  #holds(attestation, committee, position, size) {
    const committees = bytes(attestation.committee_bits);
    let before = 0;
    for (let c = 0; c < committees.length * 8; c++) {
      if (!bit(committees, c)) continue;
      if (c === committee) return bit(bytes(attestation.aggregation_bits), before + position) === 1;
      before += size.get(`${attestation.data.slot}/${c}`) ?? 0;
    }
    return false;
  }

  async proposals(epoch, validators) {
    const { data } = await this.get(`/eth/v1/validator/duties/proposer/${epoch}`);
    return data
      .map((duty) => ({ kind: "proposal", slot: Number(duty.slot), validator: Number(duty.validator_index) }))
      .filter(({ slot, validator }) => validators.has(validator) && slot > 0)
      .map((duty) => {
        const ok = Number(this.#blocks.get(duty.slot)?.proposer_index ?? -1) === duty.validator;
        return { ...duty, ok, why: ok ? "" : "no block" };
      });
  }

  /** One duty per slot and member: all its bits are in the next slot's block, if there is one. */
  async syncBits(epoch, validators) {
    const from = epoch * this.slotsPerEpoch;
    const near = Math.min(from + this.slotsPerEpoch - 1, this.last);
    const { data } = await this.get(`/eth/v1/beacon/states/${this.#known(near)}/sync_committees?epoch=${epoch}`);
    const places = new Map();
    data.validators.forEach((index, place) => {
      const validator = Number(index);
      if (validators.has(validator)) places.set(validator, [...(places.get(validator) ?? []), place]);
    });
    const duties = [];
    for (let slot = from; slot < from + this.slotsPerEpoch; slot++) {
      const block = this.#blocks.get(slot + 1);
      if (!block) continue;
      const bits = bytes(block.body.sync_aggregate.sync_committee_bits);
      for (const [validator, where] of places) {
        const ok = where.every((place) => bit(bits, place));
        duties.push({ kind: "sync committee", slot, validator, ok, why: ok ? "" : "bits not set" });
      }
    }
    return duties;
  }

  #known(slot) {
    for (let s = slot; s > 0; s--) if (this.#blocks.has(s)) return s;
    return "genesis";
  }
}
