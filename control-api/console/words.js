// What the API's words mean, in sentences.

/** States of a call. */
export const STATES = {
  open: 'Open', armed: 'Armed', secure: 'Secure', draining: 'Draining', held: 'Held', closed: 'Ended',
};

/** Whether the engine is cut off in this state. */
export const isCut = (state) => ['secure', 'draining', 'held'].includes(state);

const STEPS = {
  'payment-card-number': 'Card number',
  'expiration-date': 'Expiration date',
  'security-code': 'Security code',
  'postal-code': 'Postal code',
  'bank-routing-number': 'Routing number',
  'bank-account-number': 'Account number',
  'social-security-number': 'Social security number',
  'individual-taxpayer-number': 'Taxpayer number',
  'date-of-birth': 'Date of birth',
  'social-insurance-number': 'Social insurance number',
  'nhs-number': 'NHS number',
  'national-provider-identifier': 'Provider identifier',
  'member-id': 'Member id',
  'one-time-code': 'One-time code',
  'phone-number': 'Telephone number',
  amount: 'Amount',
  'payment-processing': 'Delivery',
};

const REASONS = {
  success: 'everything was accepted',
  'input-timeout': 'nothing more was keyed in time',
  'input-matching-failed': 'the two entries differ',
  'invalid-card-type': 'this brand of card is not accepted',
  'too-many-failed-attempts': 'no attempt is left',
  'caller-interrupted-with-star': 'the caller cancelled with **',
  'caller-hung-up': 'the call ended first',
  'session-timeout': 'the session lasted too long',
  cancelled: 'it was cancelled',
  'payment-connector-error': 'the payment service refused',
  'validation-error': 'the plan could not be completed',
  'internal-error': 'the relay failed',
};

/** A field, for people. */
export const step = (word) => STEPS[word] ?? sentence((word ?? 'field').replaceAll('-', ' '));

/** Why something failed, for people. */
export const reason = (word) =>
  REASONS[word] ?? (word ?? 'no reason is told').replace(/^invalid-/, 'not a valid ').replaceAll('-', ' ');

/** A text that begins with a capital. */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** An event of a call, for people; `data` is its data. */
export function tale(kind, data = {}) {
  const side = data.side === 'engine' ? 'engine' : 'caller';
  const tried = data.attempt > 1 ? `, attempt ${data.attempt}` : '';
  const told = {
    'call.opened': 'Call opened',
    'call.armed': 'Armed: the engine hears the caller a little later',
    'call.disarmed': 'Disarmed',
    'call.media_timeout': `No media from the ${side}`,
    'call.closed': 'Call ended',
    'recording.started': 'The recording begins',
    'recording.paused': 'The recording is paused: it holds silence',
    'recording.resumed': 'The recording goes on',
    'recording.stopped': 'The recording is over',
    'recording.gap': 'The recording has a gap',
    'media.subscribed': 'Somebody else is sent copies of what both say',
    'media.unsubscribed': 'Copies for somebody else have ended',
    'secure_session.started': 'Secure session: the cut is in force',
    'secure_session.field_started': `${step(data.step)} is asked for${tried}`,
    'secure_session.field_rejected': `${step(data.step)} rejected: ${reason(data.reason)}`,
    'secure_session.field_repeated': `${step(data.step)} is asked for again, to be sure`,
    'secure_session.field_accepted': `${step(data.step)} accepted`,
    'secure_session.processing': 'Delivered to where it belongs',
    'secure_session.concluded': `Concluded: ${verdict(data)}`,
    'secure_session.held': 'Held: no quiet was heard, the call stays cut until an operator acts',
    'secure_session.ended': 'Secure session ended: both hear each other again',
    'stream.lagged': 'Earlier events are no longer kept',
  };
  return told[kind] ?? kind;
}

/** Pass or fail, and why it failed. */
export function verdict({ result, reason: why }) {
  if (result === 'pass') return 'pass';
  return why ? `fail, ${reason(why)}` : 'fail';
}

/** What an engine is told by an event. */
export function toldEngine(kind, data = {}) {
  if (kind === 'secure_session.started') return 'a secure session is on';
  if (kind === 'secure_session.ended') return `it is over: ${data.result}`;
  return kind;
}
