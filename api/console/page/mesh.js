// The mesh as a graph: a node is a disc, a link an arrow from an origin to who reads it.

import { show, svg, el, bytes, lifeTone } from './dom.js';

const glyphs = { up: '✓', suspected: '?', failed: '✕', left: '–', returning: '↺', unknown: '?' };
const radius = 34;

// layout puts the nodes on a circle, the first at the top; two of them side by side.
// The picture ends where the nodes and what is written beside them do.
function layout(names) {
  const n = names.length, flat = n === 2, at = {};
  const r = flat ? 130 : Math.max(142, (n * 104) / (2 * Math.PI));
  names.forEach((name, i) => {
    const a = (flat ? Math.PI : -Math.PI / 2) + (2 * Math.PI * i) / n;
    at[name] = { x: r * Math.cos(a), y: r * Math.sin(a) };
  });
  const xs = Object.values(at).map((p) => p.x), ys = Object.values(at).map((p) => p.y);
  const x = Math.min(...xs) - radius - 52, y = Math.min(...ys) - radius - 26;
  return { at, middle: (Math.min(...ys) + Math.max(...ys)) / 2, box: [x, y, Math.max(...xs) + radius + 52 - x, Math.max(...ys) + radius + 30 - y].map((v) => v.toFixed(0)).join(' ') };
}

// links are all there are, with what is so about each.
function links(s, carrying) {
  const out = [], node = Object.fromEntries(s.nodes.map((n) => [n.name, n]));
  for (const reader of s.nodes) {
    for (const sub of reader.subscriptions) {
      const origin = node[sub.provider];
      if (!origin) continue;
      const slot = s.slots.find((x) => x.kind === 'mesh' && x.node === sub.provider && x.for === reader.name);
      const at = s.progress.find((p) => p.origin === sub.provider && p.node === reader.name), gap = at?.missing_bytes || 0;
      const l = { from: sub.provider, to: reader.name, lag: slot ? slot.lag_bytes : null, gap: origin.life === 'failed' ? gap : 0 };
      if (carrying.some((c) => c.to === l.to && c.origin === l.from)) l.kind = 'healing';
      else if (sub.fenced) l.kind = 'fenced';
      else if (!sub.enabled) l.kind = 'off';
      else if (!reader.reachable || !origin.reachable || reader.life === 'failed' || origin.life === 'failed') l.kind = 'down';
      else if (sub.worker === 'none') l.kind = 'off';
      else if (!at || at.lsn === '0/0') l.kind = 'unknown';
      else l.kind = 'flows';
      out.push(l);
    }
  }
  return out;
}

const words = { flows: 'replicates', healing: 'is being healed', fenced: 'fenced off', off: 'not running', down: 'down', unknown: 'unknown' };

function label(l) {
  if (l.kind === 'fenced' || l.kind === 'healing') return l.gap > 0 ? `lacks ${bytes(l.gap)}` : words[l.kind];
  if (l.gap > 0) return `lacks ${bytes(l.gap)}`;
  if (l.kind === 'flows') return l.lag === null ? '' : l.lag === 0 ? 'no lag' : bytes(l.lag);
  return words[l.kind];
}

// curve bends each direction to its own side.
function curve(a, b) {
  const dx = b.x - a.x, dy = b.y - a.y, d = Math.hypot(dx, dy), nx = -dy / d, ny = dx / d, bend = 17;
  const on = (t, off) => ({ x: a.x + dx * t + nx * off, y: a.y + dy * t + ny * off });
  const p = on((radius + 5) / d, 9), q = on(1 - (radius + 12) / d, 9), c = on(0.5, bend + 9), m = on(0.42, bend + 2);
  return { path: `M${p.x.toFixed(1)} ${p.y.toFixed(1)} Q${c.x.toFixed(1)} ${c.y.toFixed(1)} ${q.x.toFixed(1)} ${q.y.toFixed(1)}`, m, nx, ny };
}

function arrow(l, at, quiet) {
  const c = curve(at[l.from], at[l.to]), text = label(l);
  const anchor = Math.abs(c.nx) < 0.35 ? 'middle' : c.nx > 0 ? 'start' : 'end';
  return svg('g', { class: `edge ${l.kind}${l.gap > 0 ? ' lacks' : ''}` },
    svg('path', { d: c.path, 'marker-end': `url(#tip-${l.kind})` }, svg('title', {}, `${l.from} to ${l.to}: ${words[l.kind]}${text ? ', ' + text : ''}`)),
    text && !quiet && svg('text', { x: c.m.x + c.nx * 7, y: c.m.y + c.ny * 11 + 4, 'text-anchor': anchor }, text));
}

function disc(n, p, s, middle) {
  const below = p.y >= middle - 1, tone = lifeTone(n.life);
  const notes = [n.life === 'up' && n.reachable ? '' : n.life === 'up' ? 'cannot be read' : n.life, n.agent_alive ? '' : 'no agent', n.ready || !n.reachable ? '' : 'not ready'].filter(Boolean);
  const y = below ? p.y + radius + 19 : p.y - radius - 10;
  return svg('g', { class: 'node ' + tone },
    svg('circle', { cx: p.x, cy: p.y, r: radius }),
    svg('text', { x: p.x, y: p.y - 1, class: 'name' }, n.name.length > 9 ? n.name.slice(0, 8) + '…' : n.name),
    svg('text', { x: p.x, y: p.y + 17, class: 'glyph' }, n.reachable || n.life !== 'up' ? glyphs[n.life] || '?' : '?'),
    svg('circle', { class: 'agent ' + (n.agent_alive ? 'on' : 'off'), cx: p.x + 25, cy: p.y - 25, r: 7 }, svg('title', {}, `agent of ${n.name}: ${n.agent_alive ? 'alive' : 'gone'}`)),
    n.name === s.agent && svg('circle', { class: 'here', cx: p.x, cy: p.y, r: radius + 5 }),
    notes.length > 0 && svg('text', { x: p.x, y, class: 'life' }, notes.join(', ')));
}

// lanes are what a running recovery carries now.
function lanes(run) {
  if (!run || run.state !== 'running') return [];
  return (run.steps || []).filter((x) => (x.kind === 'subscribe' || x.kind === 'rows') && !['done', 'already', 'failed'].includes(x.state) && x.target)
    .map((x) => ({ from: x.node, to: x.target, origin: run.node }));
}

export function drawMesh(state) {
  const s = state.status, carrying = lanes(state.run);
  const all = links(s, carrying);
  show('mesh', [s.agent, s.nodes.map((n) => [n.name, n.life, n.agent_alive, n.reachable, n.ready]), s.witnesses, all.map((l) => [l.from, l.to, l.kind, label(l)]), carrying], () => {
    const names = s.nodes.map((n) => n.name), { at, middle, box } = layout(names), quiet = (l) => l.kind === 'flows' && (names.length > 5 || (names.length > 3 && l.lag === 0));
    const said = s.nodes.map((n) => `${n.name} is ${n.life}${n.agent_alive ? '' : ', its agent is gone'}`).join('; ') + '. '
      + (all.filter((l) => l.kind !== 'flows').map((l) => `From ${l.from} to ${l.to}: ${label(l)}`).join('; ') || 'All links replicate') + '.';
    const picture = svg('svg', { viewBox: box, role: 'img', 'aria-label': said },
      svg('defs', {}, Object.keys(words).map((k) => svg('marker', { id: 'tip-' + k, class: 'tip ' + k, viewBox: '0 0 8 8', refX: 6, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto-start-reverse' },
        svg('path', { d: 'M0 0.6 L8 4 L0 7.4 z' })))),
      all.map((l) => arrow(l, at, quiet(l) || (l.kind === 'flows' && carrying.some((c) => c.from === l.from && c.to === l.to)))),
      carrying.map((c) => at[c.from] && at[c.to] && svg('g', { class: 'edge carries' }, svg('path', { d: curve(at[c.from], at[c.to]).path, 'marker-end': 'url(#tip-healing)' }, svg('title', {}, `${c.from} gives ${c.to} what it lacks of ${c.origin}`)))),
      s.nodes.map((n) => disc(n, at[n.name], s, middle)));
    const witnesses = (s.witnesses || []).map((x) => `${x.name} ${x.agent_alive ? 'lives' : 'is gone'}`).join(', ');
    return [picture, el('p', { class: 'legend' },
      el('span', { class: 'key here' }, 'answers this page'), el('span', { class: 'key agent' }, 'agent alive'),
      el('span', { class: 'key flows' }, 'lag of a link'), el('span', { class: 'key fenced' }, 'fenced off'), witnesses && el('span', {}, 'witness: ' + witnesses))];
  });
}
