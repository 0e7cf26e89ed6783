/** Server-sent events, read from a stream: EventSource tells only of names that it was told. */
export class EventParser {
  #rest = "";
  #event = {};

  /** The events that `text` completes, each `{id, event, data}`; what is begun waits. */
  push(text) {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    return lines.flatMap((line) => this.#line(line));
  }

  #line(line) {
    if (line === "") {
      const { id = null, event = "message", data } = this.#event;
      this.#event = {};
      return data === undefined ? [] : [{ id, event, data }];
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "data" && this.#event.data !== undefined) this.#event.data += `\n${value}`;
    else if (field !== "") this.#event[field] = value;
    return [];
  }
}
