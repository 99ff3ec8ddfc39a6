// @ts-check
/** The connection to the robot: state and pictures in, gestures out; reconnects by itself. */

/**
 * @typedef {{name: string, ok: boolean, fix: string}} Condition
 * @typedef {{name: string, position_rad: number, velocity_rad_s: number, current_a: number}} Joint
 * @typedef {{name: string, value: number | null, level: number | null, above: boolean}} Surprise
 * @typedef {{t_s: number, process: string, effect: string, over: boolean, sentence: string}} Event
 * @typedef {{target: string, robot: string, bundle: string, mode: string, stale: boolean, skill: string,
 *   skills: {name: string, does: string}[], conditions: Condition[], joints: Joint[], surprise: Surprise[],
 *   prediction: Record<string, [number, number]>, ticks: {edges_us: number[], counts: number[]}, events: Event[],
 *   battery_v: number, speed_cap_m_s: number, link: string, rtt_us: number, commands: number, planner: boolean,
 *   plan: [number, number], disarmed: boolean, clients: number}} State
 */

const RETRY_MS = 700;
const HERE_MS = 500;

export class Link {
  /** @param {{state: (s: State) => void, pictures: (b: ArrayBuffer) => void, refused: (text: string) => void, connected: (yes: boolean) => void}} on */
  constructor(on) {
    this.on = on;
    /** @type {WebSocket | null} */
    this.ws = null;
    this.open();
    setInterval(() => this.send({ type: "here" }), HERE_MS);
  }

  open() {
    const ws = new WebSocket(`ws://${location.host}/ws`);
    ws.binaryType = "arraybuffer";
    ws.onopen = () => { this.ws = ws; this.on.connected(true); };
    ws.onclose = () => { this.ws = null; this.on.connected(false); setTimeout(() => this.open(), RETRY_MS); };
    ws.onmessage = (event) => {
      if (event.data instanceof ArrayBuffer) {
        this.on.pictures(event.data);
        this.send({ type: "drawn" });
        return;
      }
      const message = JSON.parse(event.data);
      if (message.type === "state") this.on.state(message);
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
