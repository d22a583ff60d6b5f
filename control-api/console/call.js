// One call: what has happened on it, what its engine was told meanwhile, and what may be done.

import { ask, followWhileSeen, read } from './api.js';
import { announce, badge, h, moment, span, twice, write } from './dom.js';
import { progress } from './progress.js';
import { STATES, isCut, reason, sentence, step, tale, toldEngine, verdict } from './words.js';

// The relay keeps 256 events of a call; a stream that lasts brings no more than these are worth.
const MOST_EVENTS = 512;
const ENGINE_KINDS = new Set(['secure_session.started', 'secure_session.ended']);

/** The part of the page that shows one call. */
export class CallPane {
  #root;
  #role;
  #following = null;
  #parts;
  #staff = [];
  #engine = [];
  #state = '';

  constructor(root, role) {
    [this.#root, this.#role, this.id] = [root, role, ''];
    this.show(null);
  }

  /** Shows a call from its beginning; null shows none. */
  show(id) {
    this.#following?.abort();
    [this.id, this.#staff, this.#engine, this.#state] = [id ?? '', [], [], ''];
    if (!id) {
      this.#root.replaceChildren(h('h2', { id: 'call-title' }, 'One call'),
        h('p', { class: 'empty' }, 'Choose a call to see what has happened on it.'));
      return;
    }
    this.#build(id);
    this.#following = new AbortController();
    this.#follow(id, this.#following.signal);
  }

  /** Takes the call as it was just read. */
  update(view) {
    if (view.id !== this.id) return;
    const { state, secure_session: session } = view;
    if (state !== this.#state) {
      if (this.#state) announce(`The call is now ${(STATES[state] ?? state).toLowerCase()}.`);
      this.#state = state;
      this.#parts.badge.replaceChildren(badge(state, STATES[state] ?? state));
      this.#offer(state);
    }
    this.#parts.session.replaceChildren(...this.#sessionLine(session, state));
  }

  #build(id) {
    const parts = {
      badge: h('span', {}), session: h('div', { class: 'session-line' }),
      ...this.#buttons(id), wrong: h('p', { class: 'note alarm', hidden: true }),
      events: h('ol', { class: 'timeline' }),
    };
    this.#parts = parts;
    // Until its state is known nothing is offered.
    [parts.cancel.hidden, parts.hangUp.hidden] = [true, true];
    this.#root.replaceChildren(
      h('div', { class: 'head' }, h('h2', { id: 'call-title' }, `Call …${id.slice(-8)}`), parts.badge),
      h('p', { class: 'aside' }, h('code', { class: 'id' }, id)),
      parts.session, h('div', { class: 'row' }, parts.cancel, parts.hangUp), parts.wrong,
      h('div', { class: 'timeline-head', 'aria-hidden': 'true' },
        h('span', {}, 'Time'), h('span', {}, 'What happened'), h('span', {}, 'The engine')),
      parts.events);
  }

  // Both tellings of the call side by side; an engine's is asked for by the relay's own word.
  async #follow(id, signal) {
    this.#engineStream(id, signal);
    try {
      await this.#look(id);
      for await (const event of followWhileSeen(`/v1/calls/${id}/events`, signal)) {
        this.#staff = [...this.#staff, event].slice(-MOST_EVENTS);
        this.#draw();
        await this.#look(id);
      }
    } catch (error) {
      if (!signal.aborted) this.#failed(error.message);
    }
  }

  async #engineStream(id, signal) {
    try {
      for await (const event of followWhileSeen(`/v1/calls/${id}/events?audience=engine`, signal)) {
        if (!ENGINE_KINDS.has(event.type)) continue;
        this.#engine = [...this.#engine, event].slice(-MOST_EVENTS);
        this.#draw();
      }
    } catch {
      // The other stream says what is wrong.
    }
  }

  async #look(id) {
    const view = await read(`/v1/calls/${id}`);
    if (id === this.id) this.update(view);
  }

  // There from the beginning, so that a question that is being answered stays where it is.
  #buttons(id) {
    const path = `/v1/calls/${id}`;
    const failed = (text) => this.#failed(text);
    const cancel = () => this.#act(`${path}/secure-session`, 'The secure session is cancelled.');
    const hangUp = () => this.#act(path, 'The call was hung up.');
    return {
      cancel: twice('Cancel the secure session', 'Cancel it? The caller has to start again.',
        'Cancel it', cancel, failed),
      hangUp: twice('Hang up', 'End this call for both sides?', 'Hang up', hangUp, failed),
    };
  }

  #offer(state) {
    this.#parts.cancel.hidden = !isCut(state) || this.#role !== 'operator';
    this.#parts.hangUp.hidden = state === 'closed';
  }

  async #act(path, said) {
    this.#parts.wrong.hidden = true;
    await ask('DELETE', path);
    announce(said);
    await this.#look(this.id);
  }

  #failed(text) {
    const { wrong } = this.#parts;
    wrong.hidden = false;
    write(wrong, text);
    announce(text);
  }

  #sessionLine(session, state) {
    if (!session) return [h('p', { class: 'hint' }, 'No secure session was entered yet.')];
    if (!isCut(state)) return [h('p', {}, 'Last secure session: ', h('strong', {}, verdict(session)), '.')];
    if (session.result) return [h('p', {}, h('strong', {}, sentence(verdict(session))),
      state === 'held' ? '. Held until an operator cancels.' : '. The cut holds until quiet is heard.')];
    const failed = session.reason ? ` The last attempt: ${reason(session.reason)}.` : '';
    return [h('p', {}, h('strong', {}, step(session.step)), `, attempt ${session.attempt ?? 1}. ${failed}`,
      progress(session.progress))];
  }

  #draw() {
    const first = this.#staff.find(({ data }) => data.occurred_at);
    if (!first) return;
    const begun = new Date(first.data.occurred_at);
    let cut = false;
    const rows = this.#staff.map(({ type, data }) => {
      const starts = type === 'secure_session.started';
      const ends = type === 'secure_session.ended';
      const inCut = cut || starts;
      cut = inCut && !ends;
      return this.#row(type, data, begun, inCut);
    });
    this.#parts.events.replaceChildren(...rows);
  }

  #row(type, data, begun, inCut) {
    // A replay that was lost begins without a time.
    const at = data.occurred_at ? span((new Date(data.occurred_at) - begun) / 1000) : '';
    const clock = data.occurred_at ? moment(data.occurred_at) : null;
    const told = this.#engine.find((one) => one.type === type
      && one.data.data.secure_session_id === data.data?.secure_session_id);
    const engine = h('span', { class: 'engine-cell' }, h('span', { class: 'unseen' }, 'The engine '));
    if (told) engine.append('is told: ', h('strong', {}, toldEngine(type, told.data.data)));
    else if (inCut) engine.append('hears silence');
    else engine.append(h('span', { class: 'unseen' }, 'is told nothing'));
    return h('li', { class: inCut ? 'cut' : '', 'data-kind': type, 'data-result': data.data?.result },
      h('span', { class: 'time' }, h('span', { class: 'since' }, `+${at}`), clock),
      h('span', { class: 'what' }, tale(type, data.data)), engine);
  }
}
