// The tables: how far each node is, what is wrong with it, and what its slots hold back.

import { show, el, svg, table, tag, bytes, ago, lifeTone } from './dom.js';

export function drawMatrix(s) {
  show('matrix', [s.progress, s.nodes.map((n) => [n.name, n.life])], () => table('Rows are origins, columns nodes; a cell is the position of the origin’s log up to which the node has its transactions.',
    ['origin', ...s.nodes.map((n) => ({ text: 'on ' + n.name, num: true }))],
    s.nodes.map((o) => el('tr', {}, el('th', { scope: 'row' }, o.name, o.life !== 'up' && [' ', tag(o.life, lifeTone(o.life))]),
      s.nodes.map((n) => {
        if (n.name === o.name) return el('td', { class: 'self num' }, '—');
        const p = s.progress.find((x) => x.origin === o.name && x.node === n.name);
        if (!p) return el('td', { class: 'num faint' }, 'none');
        const lost = o.life === 'failed', gap = p.missing_bytes > 0 && lost, unknown = p.lsn === '0/0';
        if (unknown && !p.missing_bytes) return el('td', { class: 'num' }, tag('unknown', 'warn'));
        return el('td', { class: 'num' + (gap ? ' gap' : '') }, el('span', { class: 'lsn' }, unknown ? 'unknown' : p.lsn),
          gap ? el('strong', {}, `lacks ${bytes(p.missing_bytes)}`) : p.missing_bytes > 0 ? el('span', { class: 'faint' }, `${bytes(p.missing_bytes)} behind`) : lost && el('span', { class: 'faint' }, 'has all there is'));
      })))));
}

const version = (v) => (v ? `${Math.floor(v / 10000)}.${v % 10000}` : '–');

export function drawNodes(s) {
  show('nodes', s.nodes, () => {
    const wrong = s.nodes.flatMap((n) => [
      ...(n.findings || []).map((f) => [n.name, tag(f.code, f.blocking ? 'bad' : 'warn'), f.detail, f.remedy]),
      ...(n.conditions || []).map((c) => [n.name, tag(c.code, c.severity === 'info' ? 'plain' : 'warn'), c.text, c.leads]),
      ...(n.unsent_bytes > 0 ? [[n.name, tag('only here', 'warn'), `no survivor is known to have ${bytes(n.unsent_bytes)} of its log`, 'they are on this node until it returns']] : []),
      ...(n.unsent_unknown ? [[n.name, tag('only here?', 'warn'), 'what no survivor has of it is not known', n.unsent_unknown]] : []),
      ...(n.problem ? [[n.name, tag('unreadable', 'bad'), n.problem, '']] : []),
    ]);
    return [
      table('Nodes', ['node', 'life', 'since', 'version', 'agent', 'fenced off'], s.nodes.map((n) => el('tr', {},
        el('th', { scope: 'row' }, n.name), el('td', {}, tag(n.life, lifeTone(n.life)), !n.ready && n.reachable && [' ', tag('not ready', 'bad')]),
        el('td', {}, ago(n.since)), el('td', {}, version(n.version)), el('td', {}, n.agent_alive ? 'alive' : tag('gone', 'warn')),
        el('td', {}, n.subscriptions.filter((x) => x.fenced).map((x) => x.provider).join(', ') || '–')))),
      wrong.length > 0 && table('What was found at nodes', ['node', 'found', 'what it is', 'what mends it, or follows'], wrong.map((cells) => el('tr', {}, cells.map((c) => el('td', {}, c))))),
    ];
  });
}

// history has for each slot what it held back, as long as the page is open.
const history = new Map();
const kept = 450;

export function remember(s) {
  const now = Date.now(), there = new Set();
  for (const slot of s.slots) {
    const key = slot.node + ' ' + slot.name;
    there.add(key);
    const all = history.get(key) || [];
    all.push([now, slot.retained_bytes]);
    if (all.length > kept) all.shift();
    history.set(key, all);
  }
  for (const key of history.keys()) if (!there.has(key)) history.delete(key);
}

function spark(all) {
  if (all.length === 1) all = [all[0], [all[0][0] + 1, all[0][1]]];
  const w = 120, h = 22, most = Math.max(1, ...all.map((x) => x[1])), from = all[0][0], span = Math.max(1, all.at(-1)[0] - from);
  const at = all.map(([t, n]) => `${((t - from) / span * w).toFixed(1)} ${(h - 2 - (n / most) * (h - 4)).toFixed(1)}`);
  const least = Math.min(...all.map((x) => x[1])), minutes = Math.max(1, Math.round(span / 60000));
  return svg('svg', { class: 'spark', viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `between ${bytes(least)} and ${bytes(most)} in the last ${minutes} minutes` },
    svg('path', { class: 'area', d: `M0 ${h} L${at.join(' L')} L${w} ${h} z` }), svg('path', { class: 'line', d: `M${at.join(' L')}` }));
}

export function drawSlots(s) {
  show('slots', [s.slots, s.at], () => {
    const rank = (x) => (x.wal_status === 'lost' ? 3 : x.wal_status === 'unreserved' ? 2 : x.at_risk ? 1 : 0);
    const all = [...s.slots].sort((a, b) => rank(b) - rank(a) || b.retained_bytes - a.retained_bytes || (a.node + a.name).localeCompare(b.node + b.name));
    if (all.length === 0) return el('p', { class: 'faint' }, 'There are no slots yet.');
    return table('Slots', ['slot', { text: 'holds back', num: true }, 'while open', { text: 'behind', num: true }, 'WAL'], all.map((x) => el('tr', { title: `${x.name}, confirmed up to ${x.confirmed}` },
      el('th', { scope: 'row' }, `${x.node} for ${x.for} `, el('span', { class: 'kind' }, x.kind)),
      el('td', { class: 'num' + (x.at_risk ? ' gap' : '') }, bytes(x.retained_bytes)), el('td', {}, spark(history.get(x.node + ' ' + x.name) || [[0, x.retained_bytes]])),
      el('td', { class: 'num' }, bytes(x.lag_bytes)),
      el('td', {}, x.wal_status === 'reserved' ? 'kept' : tag(x.wal_status, x.wal_status === 'extended' ? 'plain' : 'bad')))));
  });
}
