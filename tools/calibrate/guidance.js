// What every page of a recording does: asks for the state, says it, flashes and beeps when something counted.

/** @param {string} id */
export const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
const POLL_MS = 120, FLASH_MS = 700;
/** @type {AudioContext | null} */
let audio = null;

$("sound").addEventListener("click", () => {
  // browsers let a page sound only after a click
  if (audio) audio.close();
  audio = audio ? null : new AudioContext();
  $("sound").setAttribute("aria-pressed", String(audio !== null));
  $("sound").textContent = audio ? "Sound off" : "Sound on";
  beep(880);
});

/**
 * @param {number} hertz
 * @param {number} seconds
 */
function beep(hertz, seconds = 0.12) {
  if (!audio) return;
  const tone = audio.createOscillator(), gain = audio.createGain(), t = audio.currentTime;
  tone.frequency.value = hertz;
  gain.gain.setValueAtTime(0.25, t);
  gain.gain.exponentialRampToValueAtTime(0.001, t + seconds);
  tone.connect(gain).connect(audio.destination);
  tone.start(t);
  tone.stop(t + seconds);
}

/**
 * Ask for the state for ever, and show it.
 * @param {(state: any) => number} counted what of a state counts up: a rise is a capture
 * @param {(state: any) => void} show the page's own part
 */
export function watch(counted, show) {
  let count = -1, flashUntil = 0, ended = false;

  function say(state) {
    if (count >= 0 && counted(state) > count) {
      flashUntil = performance.now() + FLASH_MS;
      beep(state.done ? 1320 : 880, state.done ? 0.5 : 0.12);
    }
    count = counted(state);
    ended = state.done;
    const took = performance.now() < flashUntil && !state.done;
    $("say").className = `say ${state.done ? "done" : took ? "take" : ""}`;
    $("text").textContent = state.text;
    /** @type {HTMLProgressElement} */ ($("share")).value = state.share;
    show(state);
  }

  async function poll() {
    try {
      const state = await (await fetch("state.json")).json();
      if (state.text) say(state);
    } catch {
      $("say").className = `say ${ended ? "done" : "lost"}`;
      if (!ended) $("text").textContent = "the recording has ended; the terminal says more";
    }
    setTimeout(poll, POLL_MS);
  }
  poll();
}
