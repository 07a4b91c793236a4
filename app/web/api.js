/** Requests to the service that the page came from. Addresses are relative: a proxy may serve it under a path. */

/** Tries go on for this long while the service asks to be tried again. */
const PATIENCE_MS = 10 * 60_000;
const LONGEST_WAIT_SECONDS = 60;
/** Added at random, so that several pages do not come back at the same moment. */
const JITTER_SECONDS = 0.5;

let key = null;

/** Send this key with every request from now on; it is kept nowhere else. */
export function useKey(value) {
  key = value;
}

export function hasKey() {
  return key !== null;
}

/**
 * A request that was not answered.
 *
 * `status` is that of HTTP, 0 where no answer came; `code`, `detail` and `request` are the service's own words
 * (RFC 9457), null where it gave none; `retryAfterSeconds` is null where it did not ask to be tried again.
 */
export class Problem extends Error {
  constructor(status, { code = null, detail = null, request = null, retryAfterSeconds = null } = {}) {
    super(detail ?? code ?? `status ${status}`);
    Object.assign(this, { status, code, detail, request, retryAfterSeconds });
  }
}

/** Ask which model is served. */
export function fetchModel(onWait) {
  return persist(() => ask("model"), new AbortController().signal, onWait);
}

/**
 * Send an image and wait for its prediction, for as long as the service asks to be tried again.
 *
 * @param {Blob} image - Sent as bare bytes: the name of a file stays in the browser.
 * @param {AbortSignal} signal - Ends it early.
 * @param {function(number): void} onWait - Told the seconds until the next try.
 * @returns {Promise<Object>} Answer of `POST /predict` with heatmap and preview.
 */
export function predict(image, signal, onWait) {
  const headers = { "Content-Type": "application/octet-stream" };
  const send = () => ask("predict?explain=true&preview=true", { method: "POST", body: image, headers, signal });
  return persist(send, signal, onWait);
}

async function ask(address, options = {}) {
  const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
  try {
    const answer = await fetch(address, { ...options, headers, cache: "no-store" });
    if (answer.ok) return await answer.json();
    throw await problemOf(answer);
  } catch (error) {
    if (error instanceof Problem || options.signal?.aborted) throw error;
    // A file that cannot be read and a service that cannot be reached look alike to `fetch`.
    throw new Problem(0, { code: (await isReadable(options.body)) ? "unreachable" : "unreadable" });
  }
}

async function problemOf(answer) {
  const isProblem = answer.headers.get("Content-Type")?.startsWith("application/problem+json");
  const { code, detail, request_id: request } = isProblem ? await answer.json() : {};
  const mayBeTriedAgain = answer.status === 503 || answer.status === 429;
  const retryAfterSeconds = mayBeTriedAgain ? secondsOf(answer.headers.get("Retry-After")) : null;
  return new Problem(answer.status, { code, detail, request, retryAfterSeconds });
}

/** Read `Retry-After`, a number of seconds or a date (RFC 9110, 10.2.3). */
function secondsOf(header) {
  if (header === null) return null;
  const seconds = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isNaN(seconds) ? null : Math.min(Math.max(Math.ceil(seconds), 1), LONGEST_WAIT_SECONDS);
}

async function isReadable(file) {
  try {
    const reader = file?.stream().getReader(); // A slice of a vanished file reads as empty.
    await reader?.read();
    await reader?.cancel();
    return true;
  } catch {
    return false;
  }
}

async function persist(attempt, signal, onWait) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (problem) {
      const seconds = problem.retryAfterSeconds ?? Infinity;
      if (Date.now() + 1000 * seconds > end) throw problem;
      onWait(seconds);
      await sleep(seconds + JITTER_SECONDS * Math.random(), signal);
    }
  }
}

function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, 1000 * seconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}
