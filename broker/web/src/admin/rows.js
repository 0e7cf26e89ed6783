/** Sessions as rows of a table: joined with who is in them, filtered, sorted. All of it is pure. */

/** What a column is sorted by; null stands last, whichever way. */
export const KEYS = {
  user: (row) => `${row.user} ${row.desktop}`,
  state: (row) => row.state,
  attached: (row) => row.attached,
  idle: (row) => row.idle,
  next: (row) => row.next_in,
  cpu: (row) => row.cpu,
  memory: (row) => row.memory,
  display: (row) => row.display,
};

/** Sessions, each with its `clients`, and `text` that a search looks in. */
export function joined(sessions, attachments) {
  const inside = new Map(sessions.map((session) => [session.id, []]));
  for (const one of attachments) inside.get(one.session)?.push(one);
  return sessions.map((session) => {
    const clients = inside.get(session.id);
    return { ...session, clients, text: searched(session, clients) };
  });
}

const searched = (session, clients) =>
  [
    session.user,
    session.desktop,
    session.id,
    session.desktop_id,
    session.address,
    session.port,
    session.display === null ? null : `:${session.display}`,
    ...session.kinds,
    ...clients.flatMap((client) => [client.from, client.client]),
  ]
    .filter((one) => one !== null)
    .join(" ")
    .toLowerCase();

/** Those rows that have each word of `query`, and are so: a state, "inside", "outdated" or "". */
export function filtered(rows, query, kind) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => ofKind(row, kind) && words.every((word) => row.text.includes(word)));
}

function ofKind(row, kind) {
  if (kind === "inside") return row.attached > 0;
  if (kind === "outdated") return row.outdated === true;
  return kind === "" || row.state === kind;
}

/** By a column's key; those that are equal by who and which. */
export function sorted(rows, column, descending) {
  const key = KEYS[column];
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === y) return compare(KEYS.user(a), KEYS.user(b)) || compare(a.id, b.id);
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return sign * compare(x, y);
  });
}

const compare = (x, y) => (x < y ? -1 : Number(x > y));

/** What all of them come to. */
export function totals(rows) {
  const sum = (of) => rows.reduce((total, row) => total + (of(row) ?? 0), 0);
  return {
    live: rows.length,
    awake: rows.filter((row) => row.state === "ready").length,
    asleep: rows.filter((row) => row.state === "frozen").length,
    clients: sum((row) => row.attached),
    people: new Set(rows.filter((row) => row.attached > 0).map((row) => row.user)).size,
    cpu: sum((row) => row.cpu),
    memory: sum((row) => row.memory),
  };
}
