// Told: what an engine tells its scenario, as lines of JSON; and what it is asked to do.

import readline from 'node:readline';

export const RATE = 8000;
const TONE = 0.8; // share of a frame's energy at one frequency, from which on it is that tone

export function tell(was, what = {}) {
  console.log(JSON.stringify({ was, at: Date.now() / 1000, ...what }));
}

// Hears a caller whose voice is a tone of one frequency, and tells runs of the same kind.
export class Ear {
  #hertz;
  #run = null;

  constructor(hertz) {
    this.#hertz = hertz;
  }

  // Octets of 16-bit samples at 8 kHz, a frame or so.
  hear(octets) {
    const samples = [];
    for (let at = 0; at + 1 < octets.length; at += 2) samples.push(octets.readInt16LE(at));
    const loud = samples.filter(Boolean).length;
    const tone = power(samples, this.#hertz) > TONE;
    const kind = !loud ? 'silence' : tone ? 'tone' : 'other';
    const now = Date.now() / 1000;
    if (this.#run?.kind !== kind) {
      this.endRun();
      this.#run = { kind, begin: now, samples: 0, loud: 0 };
    }
    this.#run.end = now;
    this.#run.samples += samples.length;
    this.#run.loud += loud;
  }

  endRun() {
    if (this.#run) tell('heard', this.#run);
    this.#run = null;
  }
}

// Share of the energy at one frequency (Goertzel).
function power(samples, hertz) {
  const turn = (2 * Math.PI * hertz) / RATE;
  let [energy, real, imaginary] = [0, 0, 0];
  samples.forEach((sample, at) => {
    energy += sample * sample;
    real += sample * Math.cos(turn * at);
    imaginary += sample * Math.sin(turn * at);
  });
  return energy && (2 * (real * real + imaginary * imaginary)) / (samples.length * energy);
}

// What the engine says: a tone, as octets of samples.
export function tone(hertz, seconds) {
  const octets = Buffer.alloc(2 * RATE * seconds);
  for (let at = 0; at < RATE * seconds; at++) {
    octets.writeInt16LE(Math.round(8000 * Math.sin((2 * Math.PI * hertz * at) / RATE)), 2 * at);
  }
  return octets;
}

// A line in is a command and its words.
export function obey(commands) {
  readline.createInterface({ input: process.stdin }).on('line', (line) => {
    const [command, ...words] = line.split(' ');
    commands[command](...words);
  });
}
