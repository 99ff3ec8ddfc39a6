// @ts-check
/** The connection to the robot: state and pictures in, gestures out; reconnects by itself. */

/**
 * @typedef {{name: string, ok: boolean, fix: string}} Condition
 * @typedef {{name: string, position_rad: number, velocity_rad_s: number, current_a: number}} Joint
 * @typedef {{name: string, value: number | null, level: number | null, above: boolean}} Surprise
 * @typedef {{t_s: number, process: string, effect: string, over: boolean, sentence: string}} Event
 * @typedef {{t_ms: number, stops: number, target: string, robot: string, bundle: string, mode: string, stale: boolean, skill: string,
 *   skills: {name: string, does: string}[], conditions: Condition[], joints: Joint[], surprise: Surprise[],
 *   prediction: Record<string, [number, number]>, ticks: {edges_us: number[], counts: number[]}, events: Event[],
 *   battery_v: number, speed_cap_m_s: number, link: string, rtt_us: number, commands: number, planner: boolean,
 *   plan: [number, number], disarmed: boolean, clients: number}} State
 */

const RETRY_MS = 700;
const HERE_MS = 500;
const SILENT_MS = 1000;  // states come ten times a second: a link that is silent so long is as good as gone
const OPENING_MS = 5000;

export class Link {
  /** @param {{state: (s: State) => void, pictures: (b: ArrayBuffer) => void, refused: (text: string) => void, connected: (yes: boolean) => void}} on */
  constructor(on) {
    this.on = on;
    /** @type {WebSocket | null} */
    this.ws = null;
    this.seen = 0;  // the newest state's time: what a wish to drive goes by
    this.heard = 0;
    this.lost = () => {};
    this.open();
    setInterval(() => { if (!document.hidden) this.send({ type: "here" }); }, HERE_MS);
    setInterval(() => { if (performance.now() - this.heard > (this.ws ? SILENT_MS : OPENING_MS)) this.lost(); }, 100);
  }

  open() {
    const ws = new WebSocket(`ws://${location.host}/ws`);
    ws.binaryType = "arraybuffer";
    this.heard = performance.now(); this.seen = 0;
    let gone = false;
    // A socket whose other end is gone may take minutes to close: nobody waits for that.
    const lost = this.lost = () => {
      if (gone) return;
      gone = true; this.ws = null; ws.close();
      this.on.connected(false);
      setTimeout(() => this.open(), RETRY_MS);
    };
    ws.onopen = () => { if (!gone) { this.ws = ws; this.heard = performance.now(); this.on.connected(true); } };
    ws.onclose = lost;
    ws.onmessage = (event) => {
      if (gone) return;
      this.heard = performance.now();
      if (event.data instanceof ArrayBuffer) {
        this.on.pictures(event.data);
        this.send({ type: "drawn" });
        return;
      }
      const message = JSON.parse(event.data);
      if (message.type === "state") { this.seen = message.t_ms; this.on.state(message); }
      if (message.type === "refused") this.on.refused(message.text);
    };
  }

  /** @param {object} message */
  send(message) {
    if (this.ws && this.ws.readyState === WebSocket.OPEN) this.ws.send(JSON.stringify(message));
  }

  /** STOP goes out on two ways: if the socket hangs, the request may not. */
  stop() {
    this.send({ type: "stop" });
    fetch("/api/stop", { method: "POST" }).catch(() => {});
  }
}
