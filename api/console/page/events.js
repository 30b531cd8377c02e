// The timeline of events, newest first.

import { byID, show, el, ago } from './dom.js';

const kept = 300;
const marks = { info: '·', warning: '▲', critical: '✕' };
const opened = Date.now();

export const kind = (e) => e.type.replace(/^healer\.v1\./, '');

// note takes an event in by its time; one that is known already is no news.
export function note(state, e) {
  if (state.events.some((x) => x.id === e.id)) return;
  let i = state.events.findIndex((x) => x.time <= e.time);
  if (i < 0) i = state.events.length;
  state.events.splice(i, 0, e);
  state.events.length = Math.min(state.events.length, kept);
  if (Date.parse(e.time) >= opened && kind(e) !== 'recovery.step') {
    const news = byID('news');
    news.append(el('p', {}, `${e.severity}: ${kind(e)} ${e.subject || ''}. ${line(e)}`));
    while (news.childElementCount > 5) news.firstChild.remove();
  }
}

// line says in a line what the event's data has for a person.
export function line(e) {
  const d = e.data || {};
  switch (kind(e)) {
    case 'recovery.step': return `${d.kind}${d.target && d.target !== d.node ? ` ${d.node} → ${d.target}` : d.node ? ' ' + d.node : ''}: ${d.state}${d.error ? ', ' + d.error : d.evidence ? ', ' + d.evidence : ''}`;
    case 'recovery.verified': return `${d.transactions_recovered} transactions recovered, ${d.rows_compared} rows compared, ${d.rows_repaired} repaired`;
    case 'recovery.planned': return (d.lanes || []).map((l) => `${l.target} gets what it lacks from ${l.source}`).join(', ') || `for ${(d.survivors || []).join(', ')}`;
    case 'recovery.started': return `by the agent of ${e.source.split('/').at(-1)}`;
    default: return [d.reason, d.why, d.error, d.slot && typeof d.slot === 'object' ? d.slot.name : d.slot, d.by && `by ${d.by}`].filter((x) => typeof x === 'string' && x).join(': ');
  }
}

export function drawEvents(state) {
  const want = byID('events-filter').value;
  const all = state.events.filter((e) => (want === '!' ? e.severity !== 'info' : kind(e).startsWith(want)));
  show('events', [want, all.map((e) => e.id), state.streaming], () => {
    if (all.length === 0) return el('p', { class: 'faint' }, state.streaming ? 'None in the last six hours.' : 'Events cannot be read now.');
    return el('ol', { class: 'timeline' }, all.map((e) => el('li', { class: e.severity },
      el('span', { class: 'dot', 'aria-hidden': true }, marks[e.severity] || '·'),
      el('span', { class: 'head' }, el('span', { class: 'unseen' }, e.severity + ' '), el('strong', {}, kind(e)), e.subject && ` ${e.subject}`), ago(e.time),
      el('span', { class: 'said' }, line(e)))));
  });
}
