// The verdict: in which state the cluster is, what that asks of a person, and why.

import { byID, el, show, tag, ago, stamp } from './dom.js';
import { unlocked } from './agent.js';
import { offer } from './steering.js';

const marks = { healthy: '✓', degraded: '▲', critical: '✕', unknown: '?', silent: '✕' };

// approval says how a plan is approved.
function approval(s) {
  if (unlocked()) return 'Approve it below, and it runs.';
  return (s.steer_by || []).length ? 'Steer… lets you approve it here; so does the command below.' : 'Nobody can approve it yet: the agents know neither a token nor operators\' certificates.';
}

// headline says in a few words what is so, and for whom it is to act.
function headline(s) {
  const lost = s.nodes.filter((n) => n.life === 'failed').map((n) => n.name);
  const waits = s.refusals.filter((r) => r.reason === 'mode_advises');
  if (s.state === 'healthy') return ['Healthy', `All ${s.nodes.length} nodes live, take part and are equal. Nothing to do.`];
  if (s.state === 'unknown') return ['Nothing is known yet', 'The agent has not observed the mesh.'];
  if (s.state === 'critical') return ['Someone must act', 'Healer cannot go on by itself.'];
  if (waits.length) return ['A plan waits for you', approval(s)];
  if (s.paused) return ['Paused', lost.length ? `${lost.join(', ')} is lost and not healed until healing is resumed.` : 'Nothing is healed until healing is resumed.'];
  if (s.current) return [s.current.kind === 'rejoin' ? `Taking ${s.current.node} back` : `Healing ${s.current.node}`, 'Nothing to do: it goes on by itself.'];
  if (lost.length && s.last && s.last.state === 'verified' && lost.includes(s.last.node)) {
    return [`Healed without ${lost.join(', ')}`, `The survivors are equal. ${lost.join(', ')} is taken back when it returns.`];
  }
  const unwatched = s.nodes.filter((n) => n.unwatched || (n.life === 'up' && !n.agent_alive)).map((n) => n.name);
  if (unwatched.length) return [`No agent on ${unwatched.join(', ')}`, 'The servers live and replicate. Start the agent again: it keeps the recovery slots moving.'];
  return ['Degraded', 'Something is lost, late or switched off.'];
}

function refusal(r) {
  return el('article', { class: 'refusal ' + (r.wait ? 'warn' : 'bad') },
    el('h3', {}, `${r.subject}: refused `, tag(r.reason, r.wait ? 'warn' : 'bad')),
    el('p', {}, r.why),
    r.remedy && el('p', { class: 'remedy' }, el('span', { class: 'faint' }, 'What to do: '), el('code', {}, r.remedy)),
    unlocked() && r.recovery && el('p', { class: 'buttons' },
      r.reason === 'mode_advises' && offer('approve', { recovery: r.recovery, plan: r.plan }, `Approve the plan for ${r.subject}`),
      r.reason === 'cancelled' && offer('ack', { recovery: r.recovery }, `Have ${r.subject} healed after all`)));
}

function failure(s) {
  const l = s.last;
  if (!l || l.state !== 'failed' || s.current) return null;
  return el('article', { class: 'refusal bad' },
    el('h3', {}, `${l.node}: ${l.kind} failed `, ago(l.started)), el('p', {}, l.error || ''),
    l.hint && el('p', { class: 'remedy' }, el('span', { class: 'faint' }, 'What to do: '), el('code', {}, l.hint)),
    unlocked() && el('p', { class: 'buttons' }, offer('ack', { recovery: l.id }, 'It is dealt with: try again')));
}

export function drawVerdict(state) {
  const s = state.status, at = byID('verdict');
  const kind = state.problem ? 'silent' : s ? s.state : 'unknown';
  at.dataset.state = kind;
  const [title, said] = state.problem
    ? ['This agent does not answer', s ? `What stands below is what it said at ${stamp(new Date(state.answered).toISOString())}. Healing does not depend on this page: ask another agent, or healer status.` : 'Ask another agent, or healer status.']
    : s ? headline(s) : ['Asking the agent…', ''];
  show('verdict-title', [kind, title], () => [el('span', { class: 'mark', 'aria-hidden': true }, marks[kind]), el('span', { class: 'unseen' }, kind + ': '), title]);
  show('verdict-body', [title, said, s && [s.reasons, s.refusals, s.last, s.control, s.advice, Boolean(s.current)], unlocked()], () => {
    if (!s) return el('p', { class: 'lead' }, said);
    const told = new Set(s.refusals.map((r) => `${r.subject}: refused (${r.reason}): ${r.why}`));
    const reasons = s.reasons.filter((r) => !told.has(r));
    return [
      el('p', { class: 'lead' }, said),
      s.refusals.map(refusal), failure(s),
      reasons.length > 0 && el('ul', { class: 'reasons' }, reasons.map((r) => el('li', {}, r))),
      s.advice && el('p', {}, 'Plans are shown and not run: ' + s.advice),
      (s.control || []).length > 0 && el('ul', { class: 'reasons said' }, s.control.map((e) => el('li', {},
        tag(e.kind, 'warn'), ` ${e.subject || 'all nodes'}${e.by ? ', by ' + e.by : ''}${e.reason ? ': ' + e.reason : ''} `, ago(e.at), e.until ? `, until ${stamp(e.until)}` : ''))),
    ];
  });
}
