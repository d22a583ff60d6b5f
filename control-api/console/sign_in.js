// Signing in: the page asks for an API key, and keeps it for this tab alone.

import { Problem, ask, keep, key, keyId } from './api.js';
import { announce, at, h } from './dom.js';

/** Shows the form until a key is good, then calls `begin` with its role, `operator` or `script`. */
export async function signIn(begin) {
  at('sign-out').addEventListener('click', () => {
    keep('');
    location.reload();
  });
  if (key() && await enter(begin, () => {})) return;
  form(begin);
}

function form(begin) {
  const wrong = h('p', { class: 'note alarm', id: 'key-wrong', hidden: true });
  // Without a name, so that no form of any kind could send it along.
  const field = h('input', {
    type: 'password', id: 'key', autocomplete: 'off', spellcheck: 'false', required: true,
    'aria-describedby': 'key-hint key-wrong',
  });
  const go = h('button', { class: 'main' }, 'Continue');
  const refused = (text) => {
    wrong.hidden = false;
    wrong.textContent = text;
    announce(text);
    field.focus();
  };
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    keep(field.value.trim());
    if (!await enter(begin, refused)) keep('');
    go.disabled = false;
  };
  at('sign-in').replaceChildren(
    h('h2', { id: 'sign-in-title' }, 'Sign in'),
    h('form', { onsubmit: submit },
      h('label', { class: 'field', for: 'key' }, 'API key'), field, wrong,
      h('p', { class: 'hint', id: 'key-hint' }, 'Of the role operator or script. The first start of ',
        h('code', {}, 'sotto serve'), ' prints one; ', h('code', {}, 'sotto keys add --role operator'),
        ' makes another. It stays in this tab until you close it.'),
      go));
  at('sign-in').hidden = false;
  field.focus();
}

// What the API says to programs, said to people.
const WORDS = {
  401: 'The relay does not take this key: it is mistyped, over, not yet valid, or of another relay.',
  403: 'This key is of another role. The console needs one of the role operator or script.',
};

async function enter(begin, refused) {
  try {
    const role = await roleOfKey();
    at('sign-in').hidden = true;
    at('who').hidden = false;
    at('who-text').replaceChildren(`${role} `, h('code', {}, keyId()));
    announce(`Signed in with a key of the role ${role}.`);
    begin(role);
    return true;
  } catch (error) {
    refused(WORDS[error.status] ?? error.message);
    return false;
  }
}

// What the key may do tells its role: scripts read calls, operators what was done as well.
async function roleOfKey() {
  await ask('GET', '/v1/calls?limit=1');
  try {
    await ask('GET', '/v1/activity?limit=1');
    return 'operator';
  } catch (error) {
    if (error instanceof Problem && error.status === 403) return 'script';
    throw error;
  }
}
