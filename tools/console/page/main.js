// @ts-check
/** The operator's page: shows the run, stops it, re-arms it, drives it. */

import { SurpriseChart, drawPictures, drawTicks } from "./charts.js";
import { holdToDrive, pressAndHold } from "./drive.js";
import { Link } from "./link.js";

/** @param {string} id */
const $ = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {string} id */
const canvas = (id) => /** @type {HTMLCanvasElement} */ (document.getElementById(id));

const chart = new SurpriseChart(canvas("surprise"));
const link = new Link({ state, pictures: (b) => drawPictures(b, [canvas("seen"), canvas("expected")]), refused: (text) => { $("refused").textContent = text; }, connected });

let asked = 0;  // when STOP was pressed that no state has confirmed yet
let askedAfter = 0, stops = 0;  // stops that the robot had counted then, and has now
const letGo = holdToDrive(link, $("pad"), $("knob"));

function stop() {
  if (!asked) { asked = performance.now(); askedAfter = stops; }
  letGo();
  link.stop();
}
setInterval(() => { $("unconfirmed").hidden = !asked || performance.now() - asked < 500; }, 100);

/** @param {boolean} yes */
function connected(yes) {
  $("lost").hidden = yes;
  if (yes && asked) link.stop();
  if (!yes) letGo();
  if (!yes) { $("mode").textContent = "no connection"; $("mode").className = "pill fault"; }
}

/** @param {import("./link.js").State} s */
function state(s) {
  document.title = `${s.target} · ${s.robot} · ${s.mode}`;
  $("target").textContent = s.target;
  $("target").className = `badge ${s.target}`;
  $("robot").textContent = s.robot;
  $("mode").textContent = s.stale ? "controller silent" : s.mode;
  $("mode").className = `pill ${s.stale ? "fault" : s.mode}`;
  $("doing").textContent = `${s.skill}${s.plan[1] ? `, step ${s.plan[0]} of ${s.plan[1]}` : ""}${s.planner ? " · planner" : ""}`;
  const latched = s.mode === "stopped" || s.mode === "fault";
  stops = s.stops;
  if (latched) letGo();
  if (latched && !s.stale && stops > askedAfter) asked = 0;
  $("latched").hidden = !latched;
  skills(s);
  conditions(s);
  joints(s);
  chart.add(s.surprise);
  drawTicks(canvas("ticks"), s.ticks);
  const steps = Object.entries(s.prediction).map(([k, [model, still]]) => `${k}: ${(model / still).toFixed(2)}`);
  $("prediction").textContent = steps.length ? `error of the prediction against an unchanged picture, frames ahead: ${steps.join("  ")}` : "";
  $("facts").textContent = `${s.commands} commands, link ${s.link}, round trip ${s.rtt_us} µs, battery ${s.battery_v.toFixed(1)} V, speed cap ${s.speed_cap_m_s.toFixed(2)} m/s, ${s.bundle}`;
  events(s.events);
}

/** @param {import("./link.js").State} s */
function skills(s) {
  const box = $("skills");
  if (box.children.length !== s.skills.length) {
    box.replaceChildren(...s.skills.map((skill) => {
      const button = document.createElement("button");
      button.type = "button"; button.textContent = skill.name; button.title = skill.does;
      button.onclick = () => link.send({ type: "skill", name: skill.name });
      return button;
    }));
  }
  s.skills.forEach((skill, i) => box.children[i].setAttribute("aria-pressed", String(skill.name === s.skill)));
}

/** @param {import("./link.js").State} s */
function conditions(s) {
  $("conditions").replaceChildren(...s.conditions.map((c) => {
    const item = document.createElement("li");
    item.textContent = c.name;
    if (!c.ok) { item.className = "no"; const fix = document.createElement("small"); fix.textContent = ` ${c.fix}`; item.append(fix); }
    return item;
  }));
}

/** @param {import("./link.js").State} s */
function joints(s) {
  const body = /** @type {HTMLTableElement} */ ($("joints")).tBodies[0];
  body.replaceChildren(...s.joints.map((j) => {
    const row = document.createElement("tr");
    for (const text of [j.name.replace("_", " "), j.position_rad.toFixed(2), j.velocity_rad_s.toFixed(2), j.current_a.toFixed(2)]) row.insertCell().textContent = text;
    return row;
  }));
}

let shown = "";
/** @param {import("./link.js").Event[]} rows */
function events(rows) {
  const key = JSON.stringify(rows.map((e) => [e.t_s, e.sentence, e.over]));
  if (key === shown) return;
  shown = key;
  $("events").replaceChildren(...rows.slice().reverse().map((e) => {
    const item = document.createElement("li"), who = document.createElement("b");
    item.className = e.over ? "over" : e.effect === "hold" ? "holdtext" : e.effect;
    who.textContent = `${e.process}: `;
    item.append(who, e.over ? `over: ${e.sentence}` : e.sentence);
    return item;
  }));
}

$("stop").addEventListener("pointerdown", stop);
$("stop").addEventListener("click", stop);
addEventListener("keydown", (event) => { if (event.key === " " && !event.repeat) { stop(); event.preventDefault(); } });
$("engage").onclick = () => link.send({ type: "engage" });
$("disengage").onclick = () => link.send({ type: "disengage" });
pressAndHold(link, $("rearm"), $("rearm-fill"));
