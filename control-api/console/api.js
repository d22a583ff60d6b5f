// The relay's API as the pages use it: one key, requests, and event streams that go on where they
// stopped. The key goes into the Authorization header and nowhere else.

const STORE = 'sotto.key';
// A stream that breaks is tried again after this long, and after twice as long each time.
const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 10_000;
// One event is a line of JSON under a kilobyte: what grows beyond this is no event stream.
const LONGEST_EVENT = 65_536;

let kept = '';
try {
  kept = sessionStorage.getItem(STORE) ?? '';
} catch {
  // No storage: the key lives as long as the page.
}

/** The key in use; empty before one is given. */
export const key = () => kept;

/** Takes a key into use: for this tab, until it is closed. */
export function keep(given) {
  kept = given;
  try {
    if (given) sessionStorage.setItem(STORE, given);
    else sessionStorage.removeItem(STORE);
  } catch {
    // As above.
  }
}

/** The public part of a key. */
export const keyId = () => kept.split('_')[1] ?? '';

/** A refusal of the relay (RFC 9457), in words. */
export class Problem extends Error {
  constructor(status, body) {
    const faults = (body.errors ?? []).map(({ pointer, detail }) => `${pointer || 'The body'} ${detail}.`);
    const title = body.title ?? `The relay answered ${status}`;
    super([`${title}.`, body.detail, ...faults].filter(Boolean).join(' '));
    this.status = status;
    this.code = body.code ?? '';
  }
}

/** One request; its answer if all is well, else a Problem. */
export async function ask(method, path, { body, type, headers, signal, keepalive } = {}) {
  const sent = { authorization: `Bearer ${kept}`, ...headers };
  const json = body !== undefined && type === undefined;
  if (body !== undefined) sent['content-type'] = type ?? 'application/json';
  const request = {
    method, signal, keepalive, headers: sent, body: json ? JSON.stringify(body) : body,
    cache: 'no-store', credentials: 'omit', redirect: 'error',
  };
  let answer;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, { title: 'The relay does not answer', detail: 'It may have stopped.' });
  }
  if (answer.ok) return answer;
  throw new Problem(answer.status, await answer.json().catch(() => ({})));
}

/** The JSON that is read from a path. */
export const read = async (path, options) => (await ask('GET', path, options)).json();

/** The events of a path behind the one numbered `after`, until they end; a refusal is thrown. */
export async function* follow(path, signal, after = 0, { lost, back } = {}) {
  let last = after || undefined;
  let pause = FIRST_PAUSE;
  let isLost = false;
  while (!signal.aborted) {
    try {
      const headers = last === undefined ? {} : { 'last-event-id': last };
      const answer = await ask('GET', path, { headers, signal });
      if (answer.status === 204) return;
      if (isLost) back?.();
      isLost = false;
      for await (const event of events(answer.body)) {
        pause = FIRST_PAUSE;
        last = event.id ?? last;
        // Those before are gone: on with the oldest that is kept.
        if (event.type === 'stream.lagged') last = String(event.data.oldest_kept - 1);
        yield event;
      }
    } catch (error) {
      if (signal.aborted) return;
      const refused = error.status >= 400 && error.status < 500 && error.status !== 429;
      if (refused) throw error;
    }
    if (!isLost) lost?.();
    isLost = true;
    await sleep(pause, signal);
    pause = Math.min(2 * pause, LONGEST_PAUSE);
  }
}

/**
 * The same, but not while nobody looks: a browser has six connections to a relay, for all its tabs
 * together. What was missed comes when the page is looked at again.
 */
export async function* followWhileSeen(path, signal) {
  let seen = 0;
  while (!signal.aborted) {
    if (document.hidden) await visible(signal);
    const visit = new AbortController();
    const leave = () => visit.abort();
    document.addEventListener('visibilitychange', leave, { once: true });
    try {
      for await (const event of follow(path, AbortSignal.any([signal, visit.signal]), seen)) {
        seen = Number(event.id ?? seen);
        yield event;
      }
    } finally {
      document.removeEventListener('visibilitychange', leave);
    }
    if (!visit.signal.aborted) return;
  }
}

const visible = (signal) => new Promise((done) => {
  document.addEventListener('visibilitychange', done, { once: true });
  signal.addEventListener('abort', done, { once: true });
});

/** Waits, or less long if the signal comes. */
export const sleep = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal?.addEventListener('abort', () => {
    clearTimeout(timer);
    done();
  }, { once: true });
});

// A text/event-stream, as the HTML standard has it in section 9.2.
async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const whole = text.split('\n\n');
      text = whole.pop();
      if (text.length > LONGEST_EVENT) throw new Error('an event without an end');
      yield* whole.map(event).filter((one) => one.data !== undefined);
    }
  } finally {
    // A reader who has seen enough gives the connection back.
    reader.cancel().catch(() => {});
  }
}

function event(block) {
  const found = { type: 'message' };
  for (const line of block.split('\n')) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === 'data') found.data = JSON.parse(value);
    if (name === 'event') found.type = value;
    if (name === 'id') found.id = value;
  }
  return found;
}
