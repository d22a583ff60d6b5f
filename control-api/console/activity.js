// What was done by which key, and alarms: the relay's last few hundred, newest first.

import { Problem, read } from './api.js';
import { at, h, moment, write } from './dom.js';
import { tale } from './words.js';

// Between two looks: nobody waits for a list of what is past.
const EVERY = 3000;
// Entries asked for: what a person looks through.
const SHOWN = 60;

const DONE = {
  'POST /v1/calls': 'opened a call',
  'DELETE /v1/calls/{call_id}': 'hung up',
  'POST /v1/calls/{call_id}/caller/offer': 'answered a new offer',
  'PUT /v1/calls/{call_id}/engine': 'moved the engine',
  'PUT /v1/calls/{call_id}/arm': 'armed the call',
  'DELETE /v1/calls/{call_id}/arm': 'disarmed the call',
  'POST /v1/calls/{call_id}/secure-session': 'entered a secure session',
  'DELETE /v1/calls/{call_id}/secure-session': 'cancelled the secure session',
  'POST /v1/calls/{call_id}/secure-session/captures': 'asked for a field',
  'POST /v1/calls/{call_id}/secure-session/complete': 'completed the secure session',
  'POST /v1/calls/{call_id}/secure-session/sealed': 'fetched the sealed data',
  'POST /v1/calls/{call_id}/model-tokens': 'made a model token',
  'DELETE /v1/calls/{call_id}/model-tokens': 'revoked the model tokens',
  'POST /v1/calls/{call_id}/recording': 'began, paused or stopped the recording',
  'DELETE /v1/calls/{call_id}/recording': 'erased the recording',
  'POST /v1/webhook-deliveries/{delivery_id}/replay': 'sent a webhook again',
  'POST /v1/whip': 'placed a call from a browser',
  'PATCH /v1/whip/{call_id}': 'trickled a candidate',
  'DELETE /v1/whip/{call_id}': 'hung up a browser',
};

/** Shows it, and keeps it up to date. */
export async function showActivity(role) {
  const root = at('activity');
  if (role !== 'operator') {
    at('activity-filter').hidden = true;
    root.replaceChildren(h('p', { class: 'empty' }, 'What was done is told to operators’ keys alone.'));
    return;
  }
  const none = h('p', { class: 'empty' }, 'Nothing yet.');
  const body = h('tbody', {});
  const table = h('table', {},
    h('caption', { class: 'unseen' }, 'What was done, and alarms, newest first'),
    h('thead', {}, h('tr', {}, ...['Time', 'What', 'By', 'Call', 'Answer'].map((name) =>
      h('th', { scope: 'col' }, name)))), body);
  const list = { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'List of activity' };
  root.replaceChildren(h('div', list, table), none);

  let shown = '';
  const look = async () => {
    const only = document.querySelector('input[name=shown]:checked').value;
    const kind = only === 'alarm' ? '&kind=alarm' : '';
    const { data } = await read(`/v1/activity?limit=${SHOWN}${kind}`);
    // Rewritten only where something is new: what has the focus keeps it.
    const now = `${only} ${data[0]?.sequence}`;
    if (now === shown) return;
    shown = now;
    none.hidden = data.length > 0;
    write(none, only === 'alarm' ? 'No alarm since the relay was started.' : 'Nothing yet.');
    body.replaceChildren(...data.map(row));
  };
  const tolerate = (error) => {
    // The list of calls says so if the relay is gone.
    if (!(error instanceof Problem)) throw error;
  };
  at('activity-filter').addEventListener('change', () => look().catch(tolerate));
  for (;;) {
    if (!document.hidden) await look().catch(tolerate);
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

function row(entry) {
  const isAlarm = entry.kind === 'alarm';
  const what = isAlarm ? alarm(entry) : DONE[`${entry.method} ${entry.operation}`]
    ?? `${entry.method} ${entry.operation}`;
  const by = isAlarm ? '' : [`${entry.role} `, h('code', {}, entry.key_id)];
  const call = entry.call_id
    ? h('a', { href: `#${entry.call_id}` }, h('code', {}, `…${entry.call_id.slice(-8)}`)) : '';
  const refused = entry.status >= 400;
  return h('tr', { class: isAlarm ? 'alarm' : '' },
    h('td', { class: 'time' }, moment(entry.at)),
    h('td', {}, isAlarm ? h('span', { class: 'tag' }, 'Alarm') : null, what),
    h('td', {}, ...by), h('td', {}, call),
    h('td', { class: refused ? 'refused' : '' }, refused ? `${entry.status} refused` : entry.status));
}

function alarm({ event, side, webhook }) {
  if (event === 'webhook.given_up') return `A webhook was given up: ${webhook}`;
  return tale(event, { side });
}
