// How far an entry has come, in groups of four keys: what operators are told, and never more.

import { h } from './dom.js';

// The most that is ever told, of whatever length the entry is.
const GROUPS = 5;

/** Blocks that fill up; without a number there is nothing to tell. */
export function progress(groups) {
  if (groups === undefined || groups === null) return null;
  const blocks = Array.from({ length: GROUPS }, (_, at) => h('i', { class: at < groups ? 'full' : '' }));
  const label = groups === 1 ? '1 group of keys begun' : `${groups} groups of keys begun`;
  return h('span', { class: 'progress', role: 'img', 'aria-label': label }, ...blocks);
}
