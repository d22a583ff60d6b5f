// Small plots of the last two minutes: one line, with gaps where nothing is known.

import { h, s, write } from './dom.js';

/** How far a plot looks back, in milliseconds. */
export const WINDOW = 120_000;
// Polled every 1.5 s for two minutes, and a few more where the timer comes early.
const MOST_POINTS = 96;
const WIDTH = 120;
const HEIGHT = 28;

/** A figure: its name, its value now, and how it went. */
export class Plot {
  #points = [];
  #value = h('span', { class: 'value' });
  #line = s('path', { class: 'line' });
  // A line of no length: its round ends stay round where the plot is stretched.
  #dot = s('path', { class: 'dot' });
  #format;
  #scale;

  /** `scale` gives the least range shown, so that noise near nothing looks like nothing. */
  constructor(name, scale, format) {
    [this.#scale, this.#format] = [scale, format];
    const floor = s('path', { class: 'floor', d: `M0 ${HEIGHT - 1}H${WIDTH}` });
    const picture = s('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true',
    }, floor, this.#line, this.#dot);
    this.root = h('div', { class: 'figure' }, h('dt', {}, name), h('dd', {}, this.#value, picture));
  }

  /** Takes a value, null if it is not known, at a time in milliseconds. */
  add(now, value) {
    this.#points.push([now, value ?? null]);
    const isOld = () => this.#points[0][0] < now - WINDOW;
    while (this.#points.length > MOST_POINTS || isOld()) this.#points.shift();
    write(this.#value, value === null || value === undefined ? '–' : this.#format(value));
    this.#draw(now);
  }

  #draw(now) {
    const known = this.#points.filter(([, value]) => value !== null).map(([, value]) => value);
    const low = Math.min(this.#scale[0], ...known);
    const high = Math.max(this.#scale[1], ...known);
    const x = (time) => (WIDTH * (1 - (now - time) / WINDOW) - 2).toFixed(1);
    const y = (value) => (HEIGHT - 3 - (HEIGHT - 6) * ((value - low) / (high - low))).toFixed(1);
    let path = '';
    let pen = 'M';
    let end = null;
    for (const [time, value] of this.#points) {
      if (value !== null) path += `${pen}${x(time)} ${y(value)}`;
      pen = value === null ? 'M' : 'L';
      end = value === null ? null : [x(time), y(value)];
    }
    this.#line.setAttribute('d', path);
    this.#dot.setAttribute('d', end ? `M${end[0]} ${end[1]}h0` : '');
  }
}
