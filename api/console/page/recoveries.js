// Recoveries as bars, a step a bar, over the time of the run.

import { byID, show, el, table, tag, ago, happened, millis, lasting, stamp, runTone } from './dom.js';
import { read } from './agent.js';

const name = (x) => x.kind + (x.target && x.target !== x.node ? ` ${x.node} → ${x.target}` : x.node ? ' ' + x.node : '');
const same = (a, b) => a.kind === b.kind && (a.node || '') === (b.node || '') && (a.target || '') === (b.target || '');

// bars are the steps of a run; planned are those that may not have begun.
function bars(run, planned, running) {
  const begun = (run.steps || []).filter((x) => happened(x.started));
  const from = Math.min(Date.parse(run.started), ...begun.map((x) => Date.parse(x.started)));
  const ends = begun.map((x) => Date.parse(x.started) + millis(x.duration));
  const to = Math.max(from + 1, running ? Date.now() : from + millis(run.duration), ...ends);
  const place = (ms) => `${Math.min(100, Math.max(0, ((ms - from) / (to - from)) * 100)).toFixed(2)}%`;
  const waiting = planned.filter((p) => !begun.some((b) => same(b, p)));
  return el('ol', { class: 'bars', 'aria-label': `Steps of the ${run.kind} of ${run.node}` },
    begun.map((x) => {
      const open = running && !['done', 'already', 'failed', 'cancelled'].includes(x.state);
      const start = Date.parse(x.started), ms = open ? Date.now() - start : millis(x.duration), state = open ? 'running' : x.state || 'interrupted';
      return el('li', { class: runTone(state) },
        el('span', { class: 'what' }, name(x)),
        el('span', { class: 'track', 'aria-hidden': true }, el('i', { style: { left: place(start), width: `max(3px, ${place(from + ms)})` } })),
        el('span', { class: 'took' }, `${state}${ms ? ', ' + lasting(ms) : ''}${x.attempts > 1 ? `, try ${x.attempts}` : ''}`),
        (x.error || x.evidence) && el('span', { class: 'said' }, x.error || x.evidence, x.error && x.hint && ` — ${x.hint}`));
    }),
    waiting.map((x) => el('li', { class: 'waits' }, el('span', { class: 'what' }, name(x)), el('span', { class: 'track', 'aria-hidden': true }), el('span', { class: 'took' }, 'to do'))));
}

const figures = (r) => [
  r.transactions && `${r.transactions} transactions`, r.conflicts && `${r.conflicts} conflicts`, r.repaired && `${r.repaired} rows repaired`, r.source && `from ${r.source}`,
].filter(Boolean).join(', ');

export function drawRunning(state) {
  const c = state.status.current;
  byID('running').hidden = !c;
  if (!c) return;
  const run = state.run && state.run.id === c.id ? state.run : { ...c, steps: [] };
  const plan = state.events.find((e) => e.recovery === c.id && e.type.endsWith('recovery.planned'));
  show('running-title', [c.id, c.node], () => [c.kind === 'rejoin' ? 'Taking back ' : 'Healing the loss of ', el('strong', {}, c.node), ' ', tag('running', 'live')]);
  show('running-body', [c, run.steps, plan && plan.id, state.status.at], () => [
    el('p', { class: 'faint' }, `${c.step ? 'Now: ' + c.step + '. ' : ''}${lasting(millis(c.duration))} so far${figures(c) ? ', ' + figures(c) : ''}. Recovery ${c.id}, by the agent of ${run.agent || state.status.agent}.`),
    bars(run, (plan && plan.data && plan.data.steps) || [], true),
  ]);
}

// opened are the runs whose steps are shown, as they were read.
const opened = new Map();

async function open(run, state) {
  if (opened.has(run.run)) return;
  opened.set(run.run, { problem: 'reading…' });
  drawPast(state);
  try {
    const found = (await read('/v1/recoveries/' + encodeURIComponent(run.run))).runs.at(-1);
    opened.set(run.run, found || { problem: 'the agent has forgotten it' });
  } catch (err) {
    opened.set(run.run, { problem: err.message });
  }
  drawPast(state);
}

export function drawPast(state) {
  if (state.runs.length > 0 && !opened.has(state.runs[0].run)) { open(state.runs[0], state); return; }
  show('past', [state.runs, [...opened]], () => {
    if (state.runs.length === 0) return el('p', { class: 'faint' }, 'There has been none that this agent knows of.');
    return state.runs.map((r, i) => {
      const full = opened.get(r.run);
      const d = el('details', { class: 'run', open: i === 0 || byID('past').querySelector(`details[data-run="${CSS.escape(r.run)}"]`)?.open, 'data-run': r.run },
        el('summary', { 'data-key': r.run }, tag(r.state, runTone(r.state)), el('strong', {}, ` ${r.kind} of ${r.node} `), ago(r.started),
          el('span', { class: 'faint' }, ` took ${lasting(millis(r.duration))}${figures(r) ? ' · ' + figures(r) : ''} · agent of ${r.agent}`)),
        r.error && el('p', { class: 'problem' }, r.error, r.hint && ` — ${r.hint}`),
        full && (full.problem ? el('p', { class: 'faint' }, full.problem) : bars(full, [], false)),
        (r.conflict_counts || []).length > 0 && table('Conflicts', ['table', 'conflict', 'what was done', { text: 'how often', num: true }],
          r.conflict_counts.map((c) => el('tr', {}, el('td', {}, c.table), el('td', {}, c.kind), el('td', {}, c.action), el('td', { class: 'num' }, c.count)))),
        el('p', { class: 'faint' }, `${r.id} · run ${r.run} · began ${stamp(r.started)}`));
      d.addEventListener('toggle', () => { if (d.open) open(r, state); });
      return d;
    });
  });
}
