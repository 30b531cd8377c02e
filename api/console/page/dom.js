// Elements are made of tags, attributes and texts that are never read as markup.

const svgNames = 'http://www.w3.org/2000/svg';

function fill(node, attrs, children) {
  for (const [name, value] of Object.entries(attrs || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') for (const [kind, f] of Object.entries(value)) node.addEventListener(kind, f);
    else if (name === 'style') for (const [p, v] of Object.entries(value)) node.style.setProperty(p, v);
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(3).filter((c) => c !== undefined && c !== null && c !== false).map((c) => (c instanceof Node ? c : String(c))));
  return node;
}

export const el = (tag, attrs, ...children) => fill(document.createElement(tag), attrs, children);
export const svg = (tag, attrs, ...children) => fill(document.createElementNS(svgNames, tag), attrs, children);
export const byID = (id) => document.getElementById(id);

const shown = new Map();

// show fills the element of an id anew when what it is made of has changed, and leaves
// the keyboard where it was: on the element with the same data-key.
export function show(id, of, build) {
  const key = JSON.stringify(of);
  if (shown.get(id) === key) return;
  shown.set(id, key);
  const at = byID(id), focused = at.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const scrolled = at.scrollTop;
  at.replaceChildren(...[build()].flat(3).filter(Boolean));
  at.scrollTop = scrolled;
  if (focused) for (const n of at.querySelectorAll('[data-key]')) if (n.dataset.key === focused) n.focus();
}

// table is one with a caption for those who cannot see what it stands below.
export function table(caption, heads, rows) {
  return el('table', {}, el('caption', { class: 'unseen' }, caption),
    el('thead', {}, el('tr', {}, heads.map((h) => el('th', { scope: 'col', class: h.num && 'num' }, h.text ?? h)))),
    el('tbody', {}, rows));
}

// tag is a state in a word and a colour.
export const tag = (text, tone) => el('span', { class: 'tag ' + (tone || 'plain') }, text);

// ago is a time that says how long ago it was, and when.
export function ago(at) {
  if (!happened(at)) return el('span', { class: 'faint' }, 'never');
  return el('time', { class: 'ago', datetime: at, title: stamp(at) }, sinceText(at));
}

export const happened = (at) => Boolean(at) && !at.startsWith('0001-');
export const stamp = (at) => new Date(at).toISOString().replace('T', ' ').replace(/\.\d+Z$/, 'Z');

export function sinceText(at) {
  const s = Math.max(0, Math.round((Date.now() - Date.parse(at)) / 1000));
  if (s < 2) return 'now';
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]]) if (s >= 2 * size) return `${Math.floor(s / size)} ${unit} ago`;
  return `${s} s ago`;
}

export function tickTimes() {
  for (const t of document.querySelectorAll('time.ago')) t.textContent = sinceText(t.dateTime);
}

export function bytes(n) {
  let v = Math.abs(n), i = 0;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  while (v >= 1024 && i < units.length - 1) { v /= 1024; i++; }
  return `${n < 0 ? '-' : ''}${i === 0 || v >= 100 ? Math.round(v) : v.toFixed(1)} ${units[i]}`;
}

// millis reads a duration as Go writes it, such as 1m2.5s.
export function millis(text) {
  const size = { ns: 1e-6, us: 1e-3, 'µs': 1e-3, ms: 1, s: 1e3, m: 6e4, h: 36e5 };
  let sum = 0;
  for (const [, n, unit] of String(text || '').matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) sum += Number(n) * size[unit];
  return sum;
}

export function lasting(ms) {
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3600000) return `${Math.floor(ms / 60000)} min ${Math.round(ms / 1000) % 60} s`;
  return `${Math.floor(ms / 3600000)} h ${Math.round(ms / 60000) % 60} min`;
}

export const lifeTone = (life) => ({ up: 'good', suspected: 'warn', returning: 'warn', failed: 'bad', left: 'plain' })[life] || 'plain';
export const runTone = (state) => ({ verified: 'good', done: 'good', already: 'good', running: 'live', failed: 'bad' })[state] || 'warn';
