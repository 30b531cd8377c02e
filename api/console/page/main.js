// The page asks for the status again and again, follows the events, and draws what has
// changed.

import { byID, el, show, ago, tickTimes } from './dom.js';
import { read, follow } from './agent.js';
import { drawVerdict } from './verdict.js';
import { drawMesh } from './mesh.js';
import { drawMatrix, drawNodes, drawSlots, remember } from './tables.js';
import { drawRunning, drawPast } from './recoveries.js';
import { drawEvents, note } from './events.js';
import { drawSteering, setUpSteering } from './steering.js';

const state = { status: null, problem: '', answered: 0, streaming: false, events: [], runs: [], run: null };

function draw() {
  const s = state.status;
  byID('main').classList.toggle('stale', Boolean(state.problem));
  show('link', [state.problem, state.streaming], () => (state.problem ? `no answer from the agent` : state.streaming ? 'live' : 'live, without events'));
  byID('link').className = 'link ' + (state.problem ? 'bad' : state.streaming ? 'good' : 'warn');
  drawVerdict(state);
  if (!s) return;
  document.title = `${state.problem ? '✕ no answer' : { healthy: '✓', degraded: '▲', critical: '✕', unknown: '?' }[s.state] + ' ' + s.state} · ${s.cluster} · Healer`;
  show('cluster', s.cluster, () => s.cluster);
  show('facts', [s.agent, s.mode, s.version, s.at], () => [`seen by ${s.agent} · mode ${s.mode} · ${s.version} · observed `, ago(s.at)]);
  drawSteering(state);
  drawRunning(state);
  drawMesh(state);
  drawMatrix(s);
  drawNodes(s);
  drawSlots(s);
  drawPast(state);
  drawEvents(state);
  show('foot', [s.nats, s.gossip, s.hooks], () => foot(s));
}

function foot(s) {
  const bus = s.nats.connected ? (s.nats.stream_ready ? 'connected' : 'connected, the stream has no leader') : s.nats.problem || 'not connected';
  const parts = [`NATS: ${bus}`, `outbox: ${s.nats.outbox_depth}`, `gossip: ${s.gossip.encrypted ? 'encrypted' : 'not encrypted'}`];
  for (const h of s.hooks || []) if (h.problem) parts.push(`hook ${h.name}: ${h.problem}`);
  return [el('p', {}, parts.join(' · ')), el('p', {}, el('a', { href: '/openapi.yaml' }, 'API'), ' · ', el('a', { href: '/v1/status' }, 'status as JSON'), ' · ', el('a', { href: '/metrics' }, 'metrics'))];
}

let asking = false;
async function refresh() {
  if (asking) return;
  asking = true;
  try {
    state.status = await read('/v1/status');
    state.problem = '';
    state.answered = Date.now();
    remember(state.status);
    const current = state.status.current;
    state.run = current ? (await read('/v1/recoveries/' + encodeURIComponent(current.id))).runs.at(-1) : null;
  } catch (err) {
    state.problem = err.message || 'no answer';
  } finally {
    asking = false;
  }
  draw();
}

// The runs change when one has ended; their steps are asked for when one is opened.
async function refreshRuns() {
  try {
    state.runs = (await read('/v1/recoveries')).runs.filter((r) => r.state !== 'running').slice(-20).reverse();
  } catch { return; }
  if (state.status) drawPast(state);
}

setUpSteering(refresh);
byID('events-filter').addEventListener('change', () => drawEvents(state));
let due;
follow((event) => {
  note(state, event);
  clearTimeout(due);
  due = setTimeout(() => { refresh(); refreshRuns(); }, 150);
}, (on) => { state.streaming = on; draw(); });
refresh();
refreshRuns();
setInterval(() => { if (!document.hidden) refresh(); }, 2000);
setInterval(tickTimes, 1000);
document.addEventListener('visibilitychange', () => { if (!document.hidden) { refresh(); refreshRuns(); } });
