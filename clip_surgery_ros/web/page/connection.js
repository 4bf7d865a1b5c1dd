// The WebSocket: says hello, keeps the wishes, and connects again by itself.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;
const WRONG_TOKEN = 4401;
const TOKEN_KEY = "clip_surgery.token";

export class Connection {
  #socket = null;
  #wait = FIRST_WAIT_MS;
  #wishes = [];
  #asked = 0;
  #question = null; // the newest one that could not be sent yet
  #isWelcome = false;
  #handlers;

  /** `handlers` has a function for each type of message, and `open`, `closed`, `token`. */
  constructor(handlers) {
    this.#handlers = handlers;
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (token) {
      this.token = token;
      // The token leaves the address bar, and with it the history and screenshots.
      history.replaceState(null, "", location.pathname);
    }
  }

  get token() {
    return sessionStorage.getItem(TOKEN_KEY) ?? "";
  }

  set token(value) {
    sessionStorage.setItem(TOKEN_KEY, value);
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/socket`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello", token: this.token }));
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.code);
    this.#socket = socket;
  }

  /** Says what is looked at: pairs of camera and channel. */
  watch(wishes) {
    this.#wishes = wishes;
    this.#send({ type: "watch", wishes });
  }

  /** Sends a query, without a connection as soon as there is one; returns whether it was sent at once. */
  ask(text, thresholds) {
    this.#asked += 1;
    const question = { type: "ask", number: this.#asked, text, thresholds };
    const isSent = this.#send(question);
    this.#question = isSent ? null : question;
    return isSent;
  }

  /** Arranges the demo's table. */
  arrange(view, without) {
    this.#send({ type: "arrange", view, without });
  }

  /** Whether an answer is that of the last question. */
  isNewest(answer) {
    return answer.number === this.#asked;
  }

  #send(message) {
    if (!this.#isWelcome) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #receive(data) {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "welcome") {
        this.#isWelcome = true;
        this.#wait = FIRST_WAIT_MS;
        this.#send({ type: "watch", wishes: this.#wishes });
        if (this.#question) this.#send(this.#question);
        this.#question = null;
      }
      this.#handlers[message.type]?.(message);
      return;
    }
    const length = new DataView(data).getUint32(0, true);
    const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    this.#handlers[message.type]?.(message, new Uint8Array(data, 4 + length));
  }

  #closed(code) {
    this.#isWelcome = false;
    if (code === WRONG_TOKEN) {
      this.#handlers.token();
      return;
    }
    this.#handlers.closed();
    setTimeout(() => this.open(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }
}
