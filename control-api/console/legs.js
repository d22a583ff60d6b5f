// The two legs of a call: what they speak, and how they do.

import { h, number, write } from './dom.js';
import { Plot } from './plot.js';

const TRANSPORTS = { rtp: 'RTP', srtp: 'SRTP', webrtc: 'WebRTC' };
const HIDDEN = '–';

/** Figures of both legs, and their last two minutes. */
export class Legs {
  #caller = new Leg('Caller');
  #engine = new Leg('Engine');

  constructor() {
    this.root = h('div', { class: 'legs' }, this.#caller.root, this.#engine.root);
  }

  /** Takes `legs` of a call as the API tells it; null if the call ended before anyone looked. */
  add(legs) {
    if (!legs) return;
    const now = Date.now();
    this.#caller.add(now, legs.caller);
    this.#engine.add(now, legs.engine);
  }
}

class Leg {
  #codec = h('span', { class: 'codec' }, HIDDEN);
  #before = null;
  #loss = new Plot('Loss', [0, 5], (value) => `${number(value, 1)} %`);
  #jitter = new Plot('Jitter', [0, 20], (value) => `${number(value, 1)} ms`);
  #mos = new Plot('MOS', [1, 4.5], (value) => number(value, 1));
  #latency = new Plot('Latency', [0, 100], (value) => `${number(value, 0)} ms`);

  constructor(name) {
    const plots = [this.#loss, this.#jitter, this.#mos, this.#latency];
    this.root = h('section', { class: 'leg', 'aria-label': `${name}'s leg` },
      h('p', { class: 'leg-name' }, name, ' ', this.#codec),
      h('dl', { class: 'figures' }, ...plots.map(({ root }) => root)));
  }

  add(now, leg) {
    const transport = TRANSPORTS[leg.transport] ?? leg.transport;
    write(this.#codec, [leg.codec, transport].filter(Boolean).join(' · '));
    this.#loss.add(now, this.#lost(leg));
    this.#jitter.add(now, leg.jitter_ms);
    this.#mos.add(now, leg.mos);
    this.#latency.add(now, leg.round_trip_ms);
  }

  // Of the packets since the last look, in per cent; unknown where none came, or to scripts.
  #lost({ packets_lost: lost, packets_received: received }) {
    const before = this.#before;
    this.#before = { lost, received };
    if (!before || lost === null || before.lost === null) return null;
    const more = Math.max(0, lost - before.lost);
    const all = more + received - before.received;
    return all > 0 ? 100 * more / all : null;
  }
}
