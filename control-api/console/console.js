// The console: live calls, one call's timeline, and what was done.

import { Problem, read } from './api.js';
import { showActivity } from './activity.js';
import { CallPane } from './call.js';
import { announce, at, badge, h, moment, span, write } from './dom.js';
import { Legs } from './legs.js';
import { signIn } from './sign_in.js';
import { STATES } from './words.js';

// Between two looks at the relay.
const EVERY = 1500;
// Calls listed: the newest, as the API gives them on one page.
const LISTED = 50;
// Calls whose figures are read at each look, of those that can be seen on the screen.
const MEASURED = 8;
// Calls that are over and still offered, for their timelines.
const ENDED = 8;

signIn((role) => {
  at('console').hidden = false;
  new Console(role).run();
  showActivity(role);
});

class Console {
  #rows = new Map();
  #pane;
  #turn = 0;
  #seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) target.inSight = isIntersecting;
  });

  constructor(role) {
    this.#pane = new CallPane(at('call'), role);
    addEventListener('hashchange', () => this.#select(chosen()));
  }

  /** Looks again and again, but not while nobody does. */
  async run() {
    for (;;) {
      if (!document.hidden) await this.#look();
      await new Promise((done) => setTimeout(done, EVERY));
    }
  }

  async #look() {
    try {
      const { data } = await read(`/v1/calls?limit=${LISTED}`);
      const live = data.filter((call) => call.state !== 'closed');
      this.#list(live);
      this.#listEnded(data.filter((call) => call.state === 'closed').slice(0, ENDED));
      if (!this.#pane.id) this.#select(chosen() || (live[0] ?? data[0])?.id);
      await Promise.all(this.#toMeasure().map((row) => this.#measure(row)));
      at('trouble').hidden = true;
    } catch (error) {
      at('trouble').hidden = false;
      write(at('trouble'), `${error.message} This page tries again.`);
    }
  }

  #list(live) {
    const ids = new Set(live.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (ids.has(id)) continue;
      this.#seen.unobserve(row.root);
      row.root.remove();
      this.#rows.delete(id);
    }
    // The newest first; a row that is there stays where it is, and keeps the focus.
    for (const call of live.toReversed()) {
      if (!this.#rows.has(call.id)) this.#add(call);
      this.#rows.get(call.id).update(call);
    }
    at('live-none').hidden = live.length > 0;
    const more = live.length === LISTED ? ' or more' : '';
    write(at('live-count'), live.length ? `${live.length}${more}, newest first` : '');
    this.#alarm(live.filter(({ state }) => state === 'held'));
  }

  #add(call) {
    const row = new Row(call);
    this.#rows.set(call.id, row);
    at('live').prepend(row.root);
    this.#seen.observe(row.root);
  }

  #alarm(held) {
    const before = at('held').hidden;
    at('held').hidden = held.length === 0;
    if (!held.length) return;
    const text = held.length === 1 ? 'One call is held.' : `${held.length} calls are held.`;
    if (before) announce(text);
    at('held').replaceChildren(
      h('strong', {}, text), ' A held call stays cut until an operator cancels its secure session. ',
      h('a', { href: `#${held[0].id}` }, 'Show it'));
  }

  #listEnded(ended) {
    at('ended-part').hidden = ended.length === 0;
    // Rewritten only where it changes: a link that has the focus keeps it.
    const shown = ended.map(({ id }) => id).join();
    if (at('ended').dataset.shown === shown) return;
    at('ended').dataset.shown = shown;
    at('ended').replaceChildren(...ended.map(({ id, created_at: opened }) =>
      h('li', {}, h('a', { href: `#${id}` }, h('code', {}, short(id))), h('span', { class: 'aside' },
        'opened ', moment(opened)))));
  }

  // The chosen call each time, the others in sight in turn.
  #toMeasure() {
    const inSight = [...this.#rows.values()].filter(({ root }) => root.inSight);
    const turn = inSight.length > MEASURED ? this.#turn % inSight.length : 0;
    this.#turn += MEASURED;
    const inTurn = [...inSight.slice(turn), ...inSight.slice(0, turn)].slice(0, MEASURED);
    const mine = this.#rows.get(this.#pane.id);
    return [...new Set(mine ? [mine, ...inTurn] : inTurn)];
  }

  async #measure(row) {
    try {
      const view = await read(`/v1/calls/${row.id}`);
      row.measured(view);
      if (row.id === this.#pane.id) this.#pane.update(view);
    } catch (error) {
      // Forgotten between two looks: the next list is without it.
      if (!(error instanceof Problem && error.status === 404)) throw error;
    }
  }

  #select(id) {
    if (!id) return this.#pane.show(null);
    for (const row of this.#rows.values()) row.choose(row.id === id);
    if (id !== this.#pane.id) this.#pane.show(id);
  }
}

/** One live call in the list. */
class Row {
  #legs = new Legs();
  #state = h('span', {});
  #age = h('span', { class: 'age' });
  #link;

  constructor({ id, created_at: opened }) {
    this.id = id;
    this.opened = opened;
    this.#link = h('a', { href: `#${id}` }, h('code', {}, short(id)));
    this.root = h('li', { class: 'call card' },
      h('div', { class: 'call-head' }, h('h3', {}, this.#link), this.#state, this.#age),
      this.#legs.root);
  }

  update({ state }) {
    if (this.root.dataset.state !== state) {
      this.root.dataset.state = state;
      this.#state.replaceChildren(badge(state, STATES[state] ?? state));
    }
    // By this machine's clock: good enough for an age.
    write(this.#age, span((Date.now() - new Date(this.opened)) / 1000));
  }

  measured(view) {
    this.update(view);
    this.#legs.add(view.legs);
  }

  choose(is) {
    this.root.classList.toggle('chosen', is);
    if (is) this.#link.setAttribute('aria-current', 'true');
    else this.#link.removeAttribute('aria-current');
  }
}

// Ids begin with their time: calls differ in what comes last.
const short = (id) => `…${id.slice(-8)}`;

const chosen = () => (/^#call_[0-9a-f]{32}$/.test(location.hash) ? location.hash.slice(1) : '');
