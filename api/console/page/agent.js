// What the page asks of its agent.

// The token is here and nowhere else: a page that is loaded anew has none. A
// certificate is the browser's, and is shown only where something may be changed.
let token = '', certified = false;

async function ask(path, init = {}) {
  const headers = { ...init.headers };
  const steers = path.startsWith('/v1/control');
  if (token && steers) headers.Authorization = 'Bearer ' + token;
  const res = await fetch(path, { ...init, headers, cache: 'no-store', credentials: steers ? 'same-origin' : 'omit', signal: init.signal ?? AbortSignal.timeout(8000) });
  const body = await res.json();
  return { ok: res.ok, code: res.status, body };
}

export async function read(path) {
  const res = await ask(path);
  if (!res.ok && res.code !== 404) throw new Error(res.body.error || `the agent answers ${res.code}`);
  return res.body;
}

// unlock tries a token, or with none the browser's certificate, and keeps what the
// agent takes. It returns why it takes nothing.
export async function unlock(typed) {
  token = typed;
  try {
    const res = await ask('/v1/control');
    certified = res.ok && res.body.by === 'certificate';
    if (res.ok) return '';
    token = '';
    return `${res.body.error}. ${res.body.hint || ''}`;
  } catch (err) {
    token = '';
    return `The agent does not answer: ${err.message}`;
  }
}

export function lock() { token = ''; certified = false; }
export const unlocked = () => token !== '' || certified;

// steer tells the agent to do something and returns what becomes of it.
export async function steer(verb, request) {
  const res = await ask('/v1/control/' + verb, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ ...request, by: 'console' }),
  });
  if (res.ok) return { ok: true, said: res.body.said || 'done' };
  return { ok: false, said: `${res.body.error}${res.body.hint ? ' — ' + res.body.hint : ''}` };
}

// follow hands over each event, those of the last hours first, and comes back where it
// was when the stream ends. A whole event is text up to an empty line.
export async function follow(handle, connected) {
  let last = '', wait = 500;
  for (;;) {
    try {
      const headers = last ? { 'Last-Event-ID': last } : {};
      const quiet = new AbortController();
      const res = await fetch('/v1/events?from=6h', { headers, cache: 'no-store', credentials: 'omit', signal: quiet.signal });
      if (!res.ok) throw new Error(`no events: ${res.status}`);
      connected(true);
      wait = 500;
      const reader = res.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (;;) {
        // The agent says that it is there every 15 s.
        const late = setTimeout(() => quiet.abort(), 40000);
        const { value, done } = await reader.read().finally(() => clearTimeout(late));
        if (done) break;
        text += value;
        const blocks = text.split('\n\n');
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split('\n').filter((l) => !l.startsWith(':')).map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 2)]));
          if (!fields.data) continue;
          last = fields.id || last;
          handle(JSON.parse(fields.data));
        }
      }
    } catch { /* it is asked again */ }
    connected(false);
    await new Promise((r) => setTimeout(r, wait));
    wait = Math.min(2 * wait, 10000);
  }
}
