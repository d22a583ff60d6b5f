// What the engine hears: kinds of sound over the last minute, as a strip and as a list of runs.

import { h, number, s, span, write } from './dom.js';

const WINDOW_MS = 60_000;
const WIDTH = 600;
const HEIGHT = 84;
// The relay tells at least this often; what lasts longer is a gap, and drawn as one.
const LONGEST_ENTRY_MS = 1500;
// Two entries a second, and one at each change: more than a minute of them.
const MOST_ENTRIES = 400;
// Runs listed: an hour of talk has a few hundred.
const MOST_RUNS = 400;
// Levels drawn from nothing to full height, in dBm0.
const QUIETEST = -60;

const KINDS = { voice: 'voice', tone: 'tone', key_event: 'key', silence: 'silence' };

/** The strip. */
export class Hearing {
  #entries = [];
  #cuts = [];
  #run = null;
  #begun = null;
  #bands = s('g', {});
  #bars = s('g', {});
  #now = h('p', { class: 'now', 'data-kind': 'none' }, 'Nothing yet');
  #runs = h('ol', { class: 'runs' });
  #picture = s('svg', {
    class: 'strip', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img',
    'aria-label': 'What the engine heard in the last minute',
  }, s('defs', {}, s('pattern', {
    id: 'stripes', width: 5, height: 5, patternUnits: 'userSpaceOnUse', patternTransform: 'rotate(45)',
  }, s('rect', { width: 2.5, height: 5, class: 'stripe' }))), this.#bands, this.#bars);

  constructor(root) {
    const legend = Object.entries(KINDS).map(([kind, word]) => h('li', { 'data-kind': kind }, word));
    root.replaceChildren(this.#now, this.#picture,
      h('div', { class: 'axis', 'aria-hidden': 'true' }, h('span', {}, 'a minute ago'), h('span', {}, 'now')),
      h('ul', { class: 'legend' }, ...legend, h('li', { 'data-kind': 'cut' }, 'secure session')),
      h('details', {}, h('summary', {}, 'As a list'), this.#runs));
  }

  /** Takes one entry: what is heard from `at` on. */
  add({ at, kind, level_dbm0: level }) {
    const time = Date.parse(at);
    this.#entries.push({ at: time, kind, level });
    const isOld = () => this.#entries[0].at < time - 2 * WINDOW_MS;
    while (this.#entries.length > MOST_ENTRIES || isOld()) this.#entries.shift();
    this.#begun ??= time;
    this.#extend(time, kind, level);
    const loud = level === null || level === undefined ? '' : `, ${number(level)} dBm0`;
    write(this.#now, `Hears ${KINDS[kind] ?? kind}${kind === 'silence' ? '' : loud}`);
    this.#now.dataset.kind = kind;
    this.#draw(time);
  }

  /** The engine is cut off from `from` on; a better time may follow the first. */
  cut(from) {
    const open = this.#cuts.at(-1);
    if (open && open.to === null) open.from = from;
    else this.#cuts.push({ from, to: null });
    this.#redraw();
  }

  /** It is cut off no longer, as of what it heard last. */
  reopen() {
    const open = this.#cuts.at(-1);
    if (open && open.to === null) open.to = this.#entries.at(-1)?.at ?? open.from;
    this.#redraw();
  }

  /** Says why nothing is known. */
  unknown(text) {
    write(this.#now, text);
    this.#now.dataset.kind = 'none';
  }

  // The list tells runs: what is heard, from when to when, and the loudest of it.
  #extend(time, kind, level) {
    if (this.#run?.kind !== kind) {
      const text = h('span', {});
      const item = h('li', { 'data-kind': kind, 'data-from': time }, h('b', {}, KINDS[kind] ?? kind), ' ', text);
      this.#run = { kind, item, text, from: time, loudest: null };
      this.#runs.prepend(item);
      if (this.#runs.children.length > MOST_RUNS) this.#runs.lastChild.remove();
    }
    const run = this.#run;
    if (typeof level === 'number') run.loudest = Math.max(run.loudest ?? -Infinity, level);
    run.item.dataset.to = time;
    const loud = run.loudest === null ? '' : `, up to ${number(run.loudest)} dBm0`;
    const [since, lasts] = [span((run.from - this.#begun) / 1000), (time - run.from) / 1000];
    write(run.text, `${since}, for ${number(lasts, 1)} s${loud}`);
  }

  #redraw() {
    const newest = this.#entries.at(-1);
    if (newest) this.#draw(newest.at);
  }

  #draw(now) {
    const x = (time) => Math.max(0, WIDTH * (1 - (now - time) / WINDOW_MS));
    const bars = this.#entries.map((entry, index) => {
      const until = Math.min(this.#entries[index + 1]?.at ?? now, entry.at + LONGEST_ENTRY_MS);
      if (until < now - WINDOW_MS || until <= entry.at) return null;
      const tall = height(entry);
      return s('rect', {
        class: `sound ${entry.kind}`, x: x(entry.at).toFixed(1), y: (HEIGHT - tall).toFixed(1),
        width: Math.max(0.5, x(until) - x(entry.at) - 0.6).toFixed(1), height: tall.toFixed(1),
      });
    });
    this.#bars.replaceChildren(...bars.filter(Boolean));
    this.#bands.replaceChildren(...this.#cuts.map(({ from, to }) => s('rect', {
      class: 'band', 'data-from': from, 'data-to': to, x: x(from).toFixed(1), y: 0, height: HEIGHT,
      width: Math.max(0, x(to ?? now) - x(from)).toFixed(1),
    })));
  }
}

function height({ kind, level }) {
  if (kind === 'silence') return 3;
  if (kind === 'key_event') return HEIGHT - 4;
  const share = ((level ?? QUIETEST / 2) - QUIETEST) / -QUIETEST;
  return 8 + (HEIGHT - 20) * Math.min(1, Math.max(0, share));
}
