// Elements and what is written into them. Text goes in as text: nothing is ever parsed as HTML.

const SVG = 'http://www.w3.org/2000/svg';

/** The element of this id. */
export const at = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`) and children. */
export const h = (name, attributes, ...children) =>
  dress(document.createElement(name), attributes, children);

/** The same for SVG. */
export const s = (name, attributes, ...children) =>
  dress(document.createElementNS(SVG, name), attributes, children);

function dress(element, attributes = {}, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Writes a text if it is another one, so that screen readers hear changes alone. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something once, politely. */
export const announce = (text) => write(at('status'), text);

/** A badge for the state of a call: a shape and a word. */
export function badge(state, word) {
  return h('span', { class: 'badge', 'data-state': state }, word);
}

/** A button that asks a second time before it acts; `act` may fail, and `failed` is told why. */
export function twice(label, question, yes, act, failed) {
  const place = h('div', { class: 'twice' });
  const first = h('button', { type: 'button', class: 'danger', onclick: askAgain }, label);
  place.append(first);
  return place;

  function askAgain() {
    const sure = h('button', { type: 'button', class: 'danger', onclick: go }, yes);
    const no = h('button', { type: 'button', onclick: back }, 'No');
    const asked = h('div', { role: 'group', 'aria-label': question, onkeydown: escape },
      h('p', {}, question), h('div', { class: 'row' }, sure, no));
    place.replaceChildren(asked);
    // The harmless answer: a second press of the same key changes nothing.
    no.focus();
  }
  function escape(event) {
    if (event.key === 'Escape') back();
  }
  function back() {
    place.replaceChildren(first);
    first.focus();
  }
  async function go() {
    back();
    first.disabled = true;
    try {
      await act();
    } catch (error) {
      failed(error.message);
    } finally {
      first.disabled = false;
    }
  }
}

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' });
const dayAndClock = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const decimals = [0, 1, 2].map((digits) => new Intl.NumberFormat(undefined, {
  minimumFractionDigits: digits, maximumFractionDigits: digits,
}));

/** A moment as an element that tells it exactly. */
export const moment = (iso) =>
  h('time', { datetime: iso, title: dayAndClock.format(new Date(iso)) }, clock.format(new Date(iso)));

/** A number with so many decimals. */
export const number = (value, digits = 0) => decimals[digits].format(value);

/** Seconds as 1:05 or 1:02:05. */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (part) => String(part).padStart(2, '0');
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = two(whole % 60);
  return hours ? `${hours}:${two(minutes)}:${tail}` : `${minutes}:${tail}`;
}
