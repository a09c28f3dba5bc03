// What the server keeps of a stream, by its API.

const POLL_MS = 300;
const BEGIN_MS = 2_000;
const ANSWER_MS = 5_000;
const PATIENCE_MS = 30_000;
/** So many polls in a row without an answer: nobody is there any more. */
const FAILURES_MAX = 3;
const PLAYABLE = new Set(["complete", "finalizing", "growing"]);

/** The server has answered, but with an error. */
export class Refused extends Error {}

/** The media session of a live stream; null when it is not there. */
export async function sessionOf(name) {
  const { items } = await get(`/api/v1/streams?name=${encodeURIComponent(name)}`);
  return items.length ? items[0].id : null;
}

/** Sees to it that a media session is recorded; most servers do so by themselves, after a moment. */
export async function ensureRecorded(name, session) {
  const until_ms = Date.now() + BEGIN_MS;
  while (Date.now() < until_ms) {
    if (await recordingOf(name, session)) return;
    await pause();
  }
  const response = await fetch("/api/v1/recordings", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ media_session_id: session }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (!response.ok) throw new Refused(`${response.status}`);
}

/** The recording of a media session once its files are final; null when there is none in time. */
export async function finished(name, session) {
  const until_ms = Date.now() + PATIENCE_MS;
  for (let failures = 0; Date.now() < until_ms; await pause()) {
    try {
      const found = await recordingOf(name, session);
      if (found?.state === "complete" || found?.state === "failed") return await get(`/api/v1/recordings/${found.id}`);
      failures = 0;
    } catch (error) {
      if (++failures === FAILURES_MAX) throw error;
    }
  }
  return null;
}

export function playable(recording) {
  return recording.segments.filter((one) => PLAYABLE.has(one.state));
}

async function recordingOf(name, session) {
  const { items } = await get(`/api/v1/recordings?limit=20&stream=${encodeURIComponent(name)}`);
  return items.find((one) => one.media_session_id === session);
}

function pause() {
  return new Promise((done) => setTimeout(done, POLL_MS));
}

async function get(url) {
  const signal = AbortSignal.timeout(ANSWER_MS);
  const response = await fetch(url, { headers: { accept: "application/json" }, signal });
  if (!response.ok) throw new Refused(`${response.status}`);
  return response.json();
}
