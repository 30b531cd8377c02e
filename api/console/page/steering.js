// What changes something: only with a token or a certificate that the agent has taken.

import { byID, el, show } from './dom.js';
import { lock, unlocked, unlock, steer } from './agent.js';

const questions = {
  pause: 'No recovery begins until it is resumed. What is under way finishes, detection goes on.',
  resume: 'Recoveries begin again.',
  approve: 'The plan runs as it is shown. If it has changed by then it is made anew and waits again.',
  cancel: 'The run ends at once. What was carried stays; the survivors stay fenced off from the node.',
  ack: 'What it failed for is dealt with: it is tried again at once.',
};

let done = () => {}, ways = [];

// ask opens the dialog with a form and calls act with what was filled in. act returns
// what is to be said; nothing closes it, and the page is drawn anew.
function ask(title, fields, button, act) {
  const d = byID('dialog'), said = el('p', { role: 'alert', class: 'problem' });
  const form = el('form', { method: 'dialog', on: { submit: async (e) => {
    e.preventDefault();
    const go = form.querySelector('button.go');
    go.disabled = true;
    const problem = await act(new FormData(form)).catch((err) => err.message);
    go.disabled = false;
    if (problem) {
      said.textContent = problem;
      return;
    }
    d.close();
    done();
  } } }, el('h2', { id: 'dialog-title' }, title), fields, said,
  el('p', { class: 'buttons' }, el('button', { type: 'submit', class: 'go' }, button),
    el('button', { type: 'button', on: { click: () => d.close() } }, 'Not now')));
  d.replaceChildren(form);
  d.showModal();
}

// offer is a button that asks once more before it does something.
export function offer(verb, request, text) {
  return el('button', { type: 'button', 'data-key': verb + JSON.stringify(request), on: { click: () => {
    ask(`${text}?`, [
      el('p', {}, questions[verb]),
      verb === 'pause' && el('label', {}, 'For ', el('select', { name: 'for' },
        [['', 'until it is resumed'], ['30m', '30 minutes'], ['2h', '2 hours'], ['24h', 'a day']].map(([v, t]) => el('option', { value: v }, t)))),
      el('label', {}, 'Reason ', el('input', { name: 'reason', maxlength: 200, autocomplete: 'off' })),
    ], text, async (form) => {
      const extra = Object.fromEntries([...form].filter(([, v]) => v !== ''));
      const res = await steer(verb, { ...request, ...extra });
      if (!res.ok) return res.said;
      byID('steering-said').textContent = res.said;
      return '';
    });
  } } }, text);
}

export function drawSteering(state) {
  const s = state.status;
  byID('steering').hidden = !unlocked();
  ways = s.steer_by || [];
  const off = ways.length === 0;
  byID('unlock').textContent = unlocked() ? 'Lock' : 'Steer…';
  byID('unlock').disabled = off && !unlocked();
  byID('steering-off').hidden = !off;
  show('steering-body', [unlocked(), s.paused, s.control, s.current && s.current.id], () => [
    s.paused ? offer('resume', {}, 'Resume healing') : offer('pause', {}, 'Pause healing'),
    (s.control || []).filter((e) => e.kind === 'pause' && e.subject).map((e) => offer('resume', { node: e.subject }, `Resume healing of ${e.subject}`)),
    s.current && offer('cancel', { recovery: s.current.id }, `Cancel the ${s.current.kind} of ${s.current.node}`),
  ]);
}

export function setUpSteering(refresh) {
  done = refresh;
  byID('unlock').addEventListener('click', () => {
    if (unlocked()) {
      lock();
      byID('steering-said').textContent = '';
      refresh();
      return;
    }
    steerBy();
  });
}

// steerBy lets in by the browser's certificate where the agent knows it, else by a token.
async function steerBy() {
  const title = 'Steer this cluster';
  const problem = ways.includes('certificate') ? await unlock('') : ' ';
  if (!problem) {
    done();
  } else if (ways.includes('token')) {
    ask(title, [
      el('p', {}, 'The token of the agents (api.token_file). It is kept by this page alone, and only until it is closed.'),
      el('label', {}, 'Token ', el('input', { name: 'token', type: 'password', autocomplete: 'off', required: true })),
    ], 'Unlock', (form) => unlock(form.get('token')));
  } else {
    ask(title, [el('p', {}, problem)], 'Try again', () => unlock(''));
  }
}
