// The slots of a chain in the time of this machine.

export class Clock {
  /** `genesis` in ms since 1970, `slot` in ms, `epoch` in slots */
  constructor(genesis, slot, epoch) {
    Object.assign(this, { genesis, slotMs: slot, slotsPerEpoch: epoch });
  }

  get slot() {
    return Math.floor((Date.now() - this.genesis) / this.slotMs);
  }

  /** Ms since 1970 of a moment: a slot and a part of it. */
  time(slot, part = 0) {
    return this.genesis + (slot + part) * this.slotMs;
  }

  /** Waits for a slot of an epoch, both may be fractions. */
  async at(epoch, slot = 0) {
    await this.atSlot(epoch * this.slotsPerEpoch + slot);
  }

  async atSlot(slot) {
    const wait = this.time(slot) - Date.now();
    if (wait > 0) await new Promise((done) => setTimeout(done, wait));
  }

  /** "slot 12 + 1034 ms", for logs. */
  stamp() {
    const { slot } = this;
    const into = Math.round(Date.now() - this.time(slot));
    return `${new Date().toISOString().slice(11, 23)} ${String(slot).padStart(4)} +${String(into).padStart(5)} ms`;
  }
}
