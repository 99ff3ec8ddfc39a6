// @ts-check
/** Hold-to-drive (arrow keys, touch pad) and the press-and-hold that re-arms. `holdToDrive` gives what lets go. */

const SEND_MS = 50;
const REARM_MS = 2000;
const KEYS = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowLeft: [0, 1], ArrowRight: [0, -1] };

/** @param {import("./link.js").Link} link @param {HTMLElement} pad @param {HTMLElement} knob */
export function holdToDrive(link, pad, knob) {
  /** @type {Set<string>} */
  const keys = new Set();
  let pointer = -1, forward = 0, turn = 0, seq = Date.now(), driving = false;

  const wish = () => {
    if (pointer >= 0) return [forward, turn];
    let f = 0, t = 0;
    for (const key of keys) { f += KEYS[/** @type {keyof typeof KEYS} */ (key)][0]; t += KEYS[/** @type {keyof typeof KEYS} */ (key)][1]; }
    return [Math.sign(f), Math.sign(t) * 0.7];
  };
  const release = () => {
    pointer = -1; keys.clear(); show();
    if (driving) link.send({ type: "drive", seq: ++seq, hold: false });
    driving = false;
  };
  const show = () => {
    const [f, t] = pointer >= 0 || keys.size ? wish() : [0, 0];
    pad.classList.toggle("held", pointer >= 0 || keys.size > 0);
    knob.style.transform = `translate(${-t * 55}px, ${-f * 55}px)`;
  };
  setInterval(() => {
    if (!link.seen || (pointer < 0 && keys.size === 0)) return;
    const [f, t] = wish();
    driving = true;
    link.send({ type: "drive", seq: ++seq, hold: true, forward: f, turn: t, seen: link.seen });
  }, SEND_MS);

  const move = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId !== pointer) return;
    const box = pad.getBoundingClientRect(), reach = 70;
    turn = Math.max(-1, Math.min(1, -(event.clientX - box.left - box.width / 2) / reach));
    forward = Math.max(-1, Math.min(1, -(event.clientY - box.top - box.height / 2) / reach));
    show();
  };
  pad.addEventListener("pointerdown", (event) => { pointer = event.pointerId; pad.setPointerCapture(pointer); move(event); event.preventDefault(); });
  pad.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) pad.addEventListener(name, release);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    if (!event.repeat) { keys.add(event.key); show(); }  // a key that was let go by a stop repeats on
  });
  // with Cmd held some systems send no keyup of another key
  addEventListener("keyup", (event) => { if (event.key === "Meta") release(); else if (event.key in KEYS) { keys.delete(event.key); if (!keys.size) release(); else show(); } });
  for (const name of ["blur", "pagehide"]) addEventListener(name, release);
  document.addEventListener("visibilitychange", () => { if (document.hidden) release(); });
  return release;
}

/** @param {import("./link.js").Link} link @param {HTMLElement} button @param {HTMLElement} fill */
export function pressAndHold(link, button, fill) {
  let began = 0, timer = 0;
  const end = () => {
    if (!timer) return;
    clearInterval(timer); timer = 0; fill.style.width = "0";
    link.send({ type: "rearm", hold: false });
  };
  const start = () => {
    if (timer) return;
    began = performance.now();
    link.send({ type: "rearm", hold: true });
    timer = setInterval(() => {
      const done = (performance.now() - began) / REARM_MS;
      fill.style.width = `${Math.min(100, done * 100)}%`;
      link.send({ type: "rearm", hold: true });
      if (done > 1.3) end();
    }, 100);
  };
  button.addEventListener("pointerdown", (event) => { button.setPointerCapture(event.pointerId); start(); });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(name, end);
  button.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.repeat) start(); });
  button.addEventListener("keyup", (event) => { if (event.key === "Enter") end(); });
  button.addEventListener("contextmenu", (event) => event.preventDefault());
}
