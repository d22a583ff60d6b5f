// The script's part: it enters a secure session, and learns how it goes and how it ends.

import { Problem, ask, read } from './api.js';
import { announce, h, twice, write } from './dom.js';
import { progress } from './progress.js';
import { reason, step, verdict } from './words.js';

// Between two looks at a session that is on: events tell the rest, but not how far an entry is.
const EVERY = 700;

const BUILT_IN = {
  card: { name: 'Payment card: number, expiration date, code',
    steps: ['payment-card-number', 'expiration-date', 'security-code'] },
  identity: { name: 'Social security number', steps: ['social-security-number'] },
};

/** The form, the fields in progress, and the result. */
export class Session {
  #root;
  #role;
  #hooks;
  #plans = { ...BUILT_IN };
  #call = '';
  #steps = [];
  #on = false;
  #standing = null;
  #looking = null;
  #select = h('select', { id: 'plan' });
  #prompts = h('input', { type: 'checkbox', checked: true });
  #enter = h('button', { class: 'main', disabled: true }, 'Enter secure session');
  #wrong = h('p', { class: 'note alarm', hidden: true });
  #hint = h('p', { class: 'hint' }, 'Place a call first.');
  #form;
  #fields = h('ol', { class: 'steps' });
  #standingText = h('p', { class: 'standing' });
  #result = h('p', { class: 'result' });
  #cancel = h('div', { class: 'after' });

  /**
   * `hooks`: `enters()` before it is asked for, `refused()` if it was not to be, `entered(from)` once
   * the cut is in force, `stands(state)` at each look.
   */
  constructor(root, role, hooks) {
    [this.#root, this.#role, this.#hooks] = [root, role, hooks];
    const form = h('form', { onsubmit: (event) => this.#submit(event) },
      h('label', { class: 'field', for: 'plan' }, 'It collects'), this.#select,
      h('label', { class: 'check' }, this.#prompts, ' A recorded voice asks for each field'),
      this.#hint, this.#enter);
    this.#form = form;
    this.#root.replaceChildren(
      form, this.#wrong, this.#result, this.#standingText, this.#fields, this.#cancel);
    this.#select.addEventListener('change', () => this.#chosen());
    this.#offer();
    this.#named();
  }

  /** There is a call now. */
  begin(call) {
    this.#call = call;
    [this.#steps, this.#on, this.#standing] = [[], false, null];
    delete this.#result.dataset.result;
    this.#result.textContent = '';
    this.#wrong.hidden = true;
    this.#tell('');
    this.#enter.disabled = false;
    write(this.#hint, 'From then on the engine hears silence, and keys go to the collector alone.');
    this.#draw();
  }

  /** There is none any more. */
  end() {
    this.#call = '';
    if (this.#on) this.#tell('The call has ended, and the secure session with it.');
    this.#over();
    this.#enter.disabled = true;
    write(this.#hint, 'Place a call first.');
  }

  /** Takes an event of the call. */
  hear(kind, { step: word, attempt, reason: why, result }) {
    const known = this.#steps.find((one) => one.word === word);
    if (kind === 'secure_session.started') this.#started();
    if (word && !known) this.#steps.push({ word, state: 'waits' });
    const field = known ?? this.#steps.find((one) => one.word === word);
    if (kind === 'secure_session.field_started') {
      Object.assign(field, { state: 'asked', attempt });
      announce(`${step(word)} is asked for${attempt > 1 ? `, attempt ${attempt}` : ''}.`);
    }
    if (kind === 'secure_session.field_rejected') {
      Object.assign(field, { state: 'rejected', attempt, why });
      announce(`${step(word)} rejected: ${reason(why)}.`);
    }
    if (kind === 'secure_session.field_accepted') {
      Object.assign(field, { state: 'accepted' });
      announce(`${step(word)} accepted.`);
    }
    if (kind === 'secure_session.concluded') this.#conclude(result, why);
    if (kind === 'secure_session.held') this.#tell('Held: the call stays cut until an operator cancels.');
    if (kind === 'secure_session.ended') this.#ended(result);
    this.#draw();
  }

  async #named() {
    try {
      const { data } = await read('/v1/plans');
      for (const { name: plan, steps } of data) {
        this.#plans[`named ${plan}`] = { name: `${plan}, of the configuration`, steps, plan };
      }
      this.#offer();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
  }

  #offer() {
    this.#select.replaceChildren(...Object.entries(this.#plans).map(([value, { name }]) =>
      h('option', { value }, name)));
    this.#chosen();
  }

  // A named plan says itself whether anything is said.
  #chosen() {
    this.#prompts.disabled = Boolean(this.#plans[this.#select.value]?.plan);
  }

  async #submit(event) {
    event.preventDefault();
    const { steps, plan } = this.#plans[this.#select.value];
    const prompts = { enabled: this.#prompts.checked };
    const body = plan ? { plan } : { fields: steps.map((type) => ({ type })), prompts };
    this.#wrong.hidden = true;
    this.#enter.disabled = true;
    this.#hooks.enters();
    // Before the answer: events may overtake it.
    this.#steps = steps.map((word) => ({ word, state: 'waits' }));
    this.#result.textContent = '';
    try {
      const answer = await ask('POST', `/v1/calls/${this.#call}/secure-session`, { body });
      const { cut_at: from } = await answer.json();
      this.#started();
      this.#hooks.entered(from);
    } catch (error) {
      // A session may be on all the same: another's, or one whose answer was lost.
      const isNone = error.status >= 400 && error.status < 500 && error.status !== 409;
      if (isNone && !this.#on) this.#hooks.refused();
      this.#steps = [];
      this.#failed(error.message);
      this.#enter.disabled = !this.#call;
    }
  }

  #started() {
    if (this.#on) return;
    this.#on = true;
    this.#root.dataset.on = '';
    this.#form.hidden = true;
    delete this.#result.dataset.result;
    this.#result.textContent = '';
    this.#tell('The cut is in force: the engine hears silence.');
    announce('Secure session: the cut is in force.');
    if (this.#role === 'operator') {
      const cancel = () => ask('DELETE', `/v1/calls/${this.#call}/secure-session`);
      const question = 'Cancel it? The caller has to start again.';
      this.#cancel.replaceChildren(twice('Cancel the secure session', question, 'Cancel it', cancel,
        (text) => this.#failed(text)));
    }
    this.#look();
    this.#draw();
  }

  #conclude(result, why) {
    this.#show(result, why);
    this.#tell('The cut holds until quiet is heard.');
  }

  #ended(result) {
    if (!this.#result.dataset.result) this.#show(result);
    this.#tell('Caller and engine hear each other again.');
    this.#over();
    this.#enter.disabled = !this.#call;
  }

  #show(result, why) {
    this.#result.dataset.result = result;
    this.#result.replaceChildren(h('strong', {}, result === 'pass' ? 'Pass' : 'Fail'), ' ',
      result === 'pass' ? '' : h('span', {}, reason(why)));
    announce(`Result: ${verdict({ result, reason: why })}.`);
  }

  #over() {
    this.#on = false;
    delete this.#root.dataset.on;
    this.#form.hidden = false;
    this.#standing = null;
    this.#cancel.replaceChildren();
    clearTimeout(this.#looking);
  }

  // What events do not tell: how far an entry has come, for operators.
  async #look() {
    clearTimeout(this.#looking);
    const call = this.#call;
    if (!this.#on || !call) return;
    try {
      const standing = await read(`/v1/calls/${call}/secure-session`);
      // Its end may have been told meanwhile.
      if (!this.#on || call !== this.#call) return;
      this.#standing = standing;
      this.#hooks.stands(standing.state);
      this.#draw();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
    }
    if (this.#on && call === this.#call) this.#looking = setTimeout(() => this.#look(), EVERY);
  }

  #draw() {
    this.#fields.replaceChildren(...this.#steps.map((field) => this.#field(field)));
  }

  #field({ word, state, attempt, why }) {
    const now = state === 'asked' || state === 'rejected';
    const rejected = `rejected: ${reason(why)}`;
    const texts = { waits: 'to come', asked: 'asked for', rejected, accepted: 'accepted' };
    const tried = now && attempt > 1 ? `, attempt ${attempt}` : '';
    const standing = this.#standing;
    const isMine = now && standing?.step === word && standing.state === 'collecting';
    const groups = isMine ? standing.progress : null;
    return h('li', { 'data-state': state, 'aria-current': now ? 'step' : null },
      h('span', { class: 'step-name' }, step(word)), progress(groups),
      h('span', { class: 'step-state' }, `${texts[state]}${tried}`));
  }

  #tell(text) {
    write(this.#standingText, text);
  }

  #failed(text) {
    this.#wrong.hidden = false;
    write(this.#wrong, text);
    announce(text);
  }
}
