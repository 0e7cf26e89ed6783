/** A refusal of the API, or of the network, with one sentence for people. */
export class Problem extends Error {
  /**
   * @param {number} status HTTP's; 0 when nothing answered.
   * @param {string} code stable, as in docs/errors.md; "unreachable" when nothing answered.
   * @param {string} detail one sentence, in English.
   * @param {number|null} retryAfter seconds until asking again may work.
   */
  constructor(status, code, detail, retryAfter = null) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** What an answer that is no success says. */
export async function problemOf(response) {
  let said = {};
  try {
    said = await response.json();
  } catch {
    // A proxy's own page, or nothing: the status has to do.
  }
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  return new Problem(
    response.status,
    typeof said.code === "string" ? said.code : "internal",
    typeof said.detail === "string" ? said.detail : `The server answered ${response.status}.`,
    Number.isNaN(retryAfter) ? null : retryAfter,
  );
}

export const unreachable = () =>
  new Problem(0, "unreachable", "Desk does not answer. Is there a network?");
