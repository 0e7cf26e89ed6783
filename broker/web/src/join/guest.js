/** A guest's dealings with the broker: ask to come in, wait for the answer, leave. */
import { Problem, api, useCsrf } from "../lib/api.js";

/** Milliseconds after a question that failed. */
const AGAIN = 3_000;
const OVER = new Set([401, 403, 404]);

/** Ask to come in by the link's token; answers how it stands. Raises Problem. */
export async function ask(token, name) {
  const told = await api("POST", "/guests", { token, name });
  useCsrf(told.csrf);
  return told;
}

/** How it stands: what the broker says, or null when it knows nothing of this browser. Raises Problem. */
export async function standing(query = "", signal = undefined) {
  try {
    const told = await api("GET", `/guest${query}`, undefined, { signal });
    useCsrf(told.csrf);
    return told;
  } catch (problem) {
    if (problem instanceof Problem && OVER.has(problem.status)) return null;
    throw problem;
  }
}

/** The answer, once there is one; null when nobody is asked any more. A broken network is waited out. */
export async function answer(signal) {
  for (;;) {
    try {
      const told = await standing("?state=asked", signal);
      if (told?.state !== "asked") return told;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      await new Promise((resolve) => setTimeout(resolve, AGAIN));
    }
    if (signal.aborted) return null;
  }
}

/** Leave; whatever comes of it, this page is done. */
export const leave = () => api("POST", "/guest/leave").catch(() => null);
