// The softphone: one call by hand, seen from the caller's side, the script's and the engine's.

import { Problem, follow, followWhileSeen, read } from './api.js';
import { announce, at, h, moment, span, write } from './dom.js';
import { Hearing } from './hearing.js';
import { Line } from './line.js';
import { Session } from './session.js';
import { signIn } from './sign_in.js';
import { toldEngine } from './words.js';

const PAD = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#'];
const LETTERS = { 2: 'abc', 3: 'def', 4: 'ghi', 5: 'jkl', 6: 'mno', 7: 'pqrs', 8: 'tuv', 9: 'wxyz' };
const NAMES = { '*': 'star', '#': 'hash' };
// Keys that are shown: what fits on the line.
const KEYS_SHOWN = 24;
// A session's states, as the line shows them.
const STANDS = {
  collecting: ['Secure', 'secure'], draining: ['Draining', 'draining'], held: ['Held', 'held'],
};
const METER_MS = 100;
const QUIETEST = -60;
const ENGINE_KINDS = ['secure_session.started', 'secure_session.ended'];

signIn((role) => {
  at('phone').hidden = false;
  new Phone(role);
});

class Phone {
  #line = null;
  #following = null;
  #hearing = new Hearing(at('hearing'));
  #session;
  #keys = '';
  // Digits are shown while the call is open alone; from the moment a session is asked for, dots.
  #masked = false;
  // Whether another may have entered a session without this page having heard of it.
  #blind = false;
  #begun = 0;
  #timer;

  constructor(role) {
    this.#session = new Session(at('session'), role, {
      enters: () => this.#mask(true),
      refused: () => this.#mask(false),
      entered: (from) => this.#hearing.cut(Date.parse(from)),
      stands: (state) => STANDS[state] && this.#state(...STANDS[state]),
    });
    at('place').addEventListener('submit', (event) => this.#place(event));
    at('place').addEventListener('change', () => this.#chosen());
    at('hang-up').addEventListener('click', () => this.#hangUp());
    at('mute').addEventListener('click', () => this.#mute());
    at('pad').append(...PAD.map((key) => this.#button(key)));
    addEventListener('keydown', (event) => this.#typed(event));
    // Whoever closes the page has hung up.
    addEventListener('pagehide', () => this.#line?.end(true).catch(() => {}));
  }

  #chosen() {
    at('address-field').hidden = picked('engine') !== 'address';
    at('address').required = picked('engine') === 'address';
  }

  async #place(event) {
    event.preventDefault();
    at('call-button').disabled = true;
    at('line-trouble').hidden = true;
    this.#state('Calling', 'armed');
    const line = new Line();
    this.#line = line;
    try {
      const engine = picked('engine') === 'echo' ? 'echo' : at('address').value.trim();
      await line.listen(picked('voice'));
      const call = await line.place(engine, at('far'), (what) => this.#changed(line, what));
      // It may be over already, and said so.
      if (this.#line === line) this.#begin(call);
    } catch (error) {
      this.#line = null;
      line.release();
      this.#state('No call', 'closed');
      this.#trouble(error instanceof Problem || error.constructor === Error ? error.message
        : `The browser could not place the call (${error.name}).`);
    }
    at('call-button').disabled = false;
  }

  #begin(call) {
    at('place').hidden = true;
    at('in-call').hidden = false;
    this.#keys = '';
    this.#blind = false;
    this.#mask(false);
    this.#begun = Date.now();
    at('told').replaceChildren();
    at('told-none').hidden = false;
    this.#hearing = new Hearing(at('hearing'));
    at('in-call').dataset.call = call;
    this.#session.begin(call);
    this.#following = new AbortController();
    const { signal } = this.#following;
    this.#events(call, signal);
    this.#told(call, signal);
    this.#heard(call, signal);
    this.#timer = setInterval(() => this.#meter(), METER_MS);
    at('pad').focus();
  }

  #changed(line, what) {
    if (line !== this.#line) return;
    if (what === 'connected') {
      this.#state('Open', 'open');
      announce('Connected. The engine hears you.');
    } else {
      this.#over('The connection was lost.');
      line.end().catch(() => {});
    }
  }

  async #events(call, signal) {
    try {
      const watch = { lost: () => { this.#blind = true; }, back: () => this.#look(call, signal) };
      for await (const { type, data } of follow(`/v1/calls/${call}/events`, signal, 0, watch)) {
        this.#session.hear(type, data.data ?? {});
        if (type === 'secure_session.started') {
          this.#mask(true);
          // Whoever entered it: to the second, until the one who did knows better.
          this.#hearing.cut(Date.parse(data.occurred_at));
          this.#state(...STANDS.collecting);
        }
        if (type === 'secure_session.concluded') this.#state(...STANDS.draining);
        if (type === 'secure_session.held') this.#state(...STANDS.held);
        if (type === 'secure_session.ended') {
          this.#hearing.reopen();
          this.#blind = false;
          this.#mask(false);
          this.#state('Open', 'open');
        }
      }
      if (!signal.aborted) this.#over('The call has ended.');
    } catch (error) {
      if (!signal.aborted) this.#over(error.message);
    }
  }

  // What an engine is told of this call, by the relay's own telling for engines.
  async #told(call, signal) {
    try {
      const path = `/v1/calls/${call}/events?audience=engine`;
      for await (const { type, data } of followWhileSeen(path, signal)) {
        if (!ENGINE_KINDS.includes(type)) continue;
        at('told-none').hidden = true;
        at('told').append(h('li', { 'data-kind': type, 'data-result': data.data?.result },
          moment(data.occurred_at), ' ', h('strong', {}, toldEngine(type, data.data))));
      }
    } catch {
      // The other stream says what is wrong.
    }
  }

  async #heard(call, signal) {
    const hearing = this.#hearing;
    try {
      for await (const { type, data } of followWhileSeen(`/v1/calls/${call}/engine/hearing`, signal)) {
        if (type === 'hearing') hearing.add(data);
      }
    } catch {
      hearing.unknown('The engine is not the embedded one: what it hears is not known here.');
    }
  }

  #button(key) {
    return h('button', {
      type: 'button', 'data-key': key, onclick: () => this.#press(key),
      // As what is seen: who speaks to their machine says that.
      'aria-label': NAMES[key] ?? `${key} ${LETTERS[key] ?? ''}`.trim(),
    }, h('span', {}, key), ' ', h('small', {}, LETTERS[key] ?? ''));
  }

  #typed(event) {
    const inField = event.target.matches?.('input:not([type=checkbox], [type=radio]), select, textarea');
    const plain = !event.ctrlKey && !event.altKey && !event.metaKey && !event.repeat;
    if (!this.#line || inField || !plain || !at('keyboard').checked || !PAD.includes(event.key)) return;
    event.preventDefault();
    this.#press(event.key);
  }

  // What was missed is on its way; until it is known that the call is open, keys stay dots.
  async #look(call, signal) {
    try {
      const { state } = await read(`/v1/calls/${call}`, { signal });
      this.#blind = state !== 'open' && state !== 'armed';
    } catch {
      // The stream breaks as well then, and looks again.
    }
  }

  #press(key) {
    if (!this.#line.sendsKeys) {
      this.#trouble('No key can be sent on this call yet.');
      return;
    }
    at('line-trouble').hidden = true;
    this.#line.press(key);
    this.#keys = (this.#keys + (this.#masked || this.#blind ? '•' : key)).slice(-KEYS_SHOWN);
    at('keys').textContent = this.#keys;
    // By class and timer, and the same for each key.
    const button = at('pad').querySelector(`[data-key="${CSS.escape(key)}"]`);
    button.classList.add('pressed');
    setTimeout(() => button.classList.remove('pressed'), METER_MS);
  }

  // Whatever was on the line goes with the change.
  #mask(is) {
    if (is === this.#masked) return;
    this.#masked = is;
    // What was pressed before is not meant for what comes.
    this.#line?.forgetKeys();
    this.#keys = '';
    at('keys').textContent = '';
  }

  #mute() {
    const is = at('mute').getAttribute('aria-pressed') !== 'true';
    at('mute').setAttribute('aria-pressed', String(is));
    this.#line.mute(is);
  }

  #meter() {
    const level = this.#line.level();
    const share = Math.min(1, Math.max(0, (level - QUIETEST) / -QUIETEST));
    at('level').style.setProperty('transform', `scaleX(${share.toFixed(3)})`);
    const loud = Number.isFinite(level) && level > QUIETEST ? `${Math.round(level)} dB` : 'silent';
    write(at('level-text'), `My level: ${loud} · ${span((Date.now() - this.#begun) / 1000)}`);
  }

  async #hangUp() {
    at('hang-up').disabled = true;
    try {
      const line = this.#line;
      this.#over('You hung up.');
      await line.end();
    } catch (error) {
      this.#trouble(error.message);
    }
    at('hang-up').disabled = false;
  }

  #over(text) {
    if (!this.#line) return;
    this.#line.release();
    this.#line = null;
    this.#following?.abort();
    clearInterval(this.#timer);
    this.#hearing.reopen();
    this.#session.end();
    this.#mask(true);
    at('mute').setAttribute('aria-pressed', 'false');
    at('place').hidden = false;
    at('in-call').hidden = true;
    this.#state('No call', 'closed');
    announce(text);
    at('call-button').focus();
  }

  #state(text, state) {
    at('line-state').dataset.state = state;
    write(at('line-state'), text);
  }

  #trouble(text) {
    at('line-trouble').hidden = false;
    write(at('line-trouble'), text);
    announce(text);
  }
}

const picked = (name) => document.querySelector(`input[name=${name}]:checked`).value;
