/** What to type elsewhere to get in: lines for stock clients. */

/** The names of all desktops but this one stand behind a + in the login name. */
export const DEFAULT_DESKTOP = "main";

const login = (desktop) => (desktop === DEFAULT_DESKTOP ? "desk" : `desk+${desktop}`);

/** An address of IPv6 has brackets in URLs alone; `hostname` is a location's, with them. */
const bare = (hostname) => hostname.replace(/^\[(.*)\]$/, "$1");

const flag = (name, port) => (port === 22 ? "" : ` ${name} ${port}`);

/**
 * `[purpose, line]` each, for the desktop of that name, whose display is null while it has none.
 * `hostname` and `port` are where SSH is reached.
 */
export function lines({ hostname, port, desktop, display }) {
  const host = bare(hostname);
  const at = `${login(desktop)}@${host}`;
  const url = `${desktop === DEFAULT_DESKTOP || display === null ? login(desktop) : "desk"}@${hostname}`;
  const shown = desktop === DEFAULT_DESKTOP || display === null ? "" : display;
  const alias = hostAlias(desktop);
  return [
    ["A shell", `ssh${flag("-p", port)} ${at}`],
    ["Files", `sftp${flag("-P", port)} ${at}`],
    ["The desktop in a window of its own", `xpra attach ssh://${url}:${port}/${shown}`],
    ["VS Code, with the block below", `code --remote ssh-remote+${alias} /home/desk`],
  ];
}

/** A block for `~/.ssh/config`, by which `ssh desk` is enough. */
export function sshConfig({ hostname, port, desktop }) {
  return [
    `Host ${hostAlias(desktop)}`,
    `    HostName ${bare(hostname)}`,
    `    Port ${port}`,
    `    User ${login(desktop)}`,
  ].join("\n");
}

const hostAlias = (desktop) => (desktop === DEFAULT_DESKTOP ? "desk" : `desk-${desktop}`);

/** What prints a link that signs a browser in. */
export const webLine = (hostname, port) => `ssh${flag("-p", port)} desk@${bare(hostname)} desk web`;
