// The page around the candles: is the stream alive, is what it says fresh, and the few controls.
//
// Datastar owns the stream and patches the <spot-candle> elements. Here its events are only watched:
// a page that has heard nothing for a while, or hears that the exchange is behind, says so and dims.

// The gateway's heartbeat comes every five seconds; after two missing ones nothing here is live.
const SILENT_AFTER_MS = 11_000;
// A phone that slept can hold a connection that never ends: begin a new one.
const RESTART_AFTER_MS = 20_000;

const root = document.documentElement;
const connection = document.getElementById("connection");
const lag = document.getElementById("lag");
const pause = document.getElementById("pause");
let stream = document.getElementById("stream");
let heardAt = performance.now();
let startedAt = performance.now();
let hasHeard = false;
let pulse = null;

document.addEventListener("datastar-fetch", ({ detail }) => {
  if (!detail.type.startsWith("datastar-patch")) return;
  heardAt = performance.now();
  hasHeard = true;
  if (detail.type === "datastar-patch-signals") {
    pulse = JSON.parse(detail.argsRaw.signals)._spot ?? pulse;
  }
  show();
});

function show() {
  if (!stream?.isConnected) return say("paused", "Paused", "");
  const silentMs = performance.now() - heardAt;
  if (!hasHeard) return say("connecting", "Connecting", "");
  if (silentMs > SILENT_AFTER_MS) {
    return say("silent", "Reconnecting", `${Math.round(silentMs / 1000)} s silent`);
  }
  if (pulse === null) return say("connecting", "Connecting", "");
  const seconds = pulse.lag === null ? "" : `${Number(pulse.lag).toFixed(1)} s behind`;
  if (pulse.status === "down") return say("stale", "Not live", seconds);
  if (pulse.status === "degraded") return say("stale", "Partly live", seconds);
  return say("live", "Live", pulse.lag === null ? "" : `${Number(pulse.lag).toFixed(1)} s`);
}

function say(state, text, detail) {
  root.dataset.state = state;
  // Only changes are announced to those who listen instead of look.
  if (connection.textContent !== text) connection.textContent = text;
  lag.textContent = detail;
}

function restart() {
  const next = stream.cloneNode(true);
  if (stream.isConnected) stream.replaceWith(next);
  else document.body.append(next);
  stream = next;
  startedAt = performance.now();
}

setInterval(() => {
  show();
  const now = performance.now();
  const isStuck = now - heardAt > RESTART_AFTER_MS && now - startedAt > RESTART_AFTER_MS;
  if (stream?.isConnected && !document.hidden && isStuck) restart();
}, 1000);

document.addEventListener("visibilitychange", () => {
  // Datastar starts anew by itself when the tab is seen again; until then silence means nothing.
  if (!document.hidden) heardAt = startedAt = performance.now();
});

pause.addEventListener("click", () => {
  const isPaused = stream.isConnected;
  if (isPaused) stream.remove();
  else {
    heardAt = performance.now();
    hasHeard = false;
    restart();
  }
  pause.setAttribute("aria-pressed", String(isPaused));
  pause.textContent = isPaused ? "Resume" : "Pause";
  show();
});
pause.hidden = !stream;

document.getElementById("filter").addEventListener("input", ({ target }) => {
  const wanted = target.value.trim().toUpperCase();
  for (const item of document.querySelectorAll("#choices li")) {
    item.hidden = !item.textContent.toUpperCase().includes(wanted);
  }
});

document.addEventListener("click", ({ target }) => {
  const picker = document.querySelector(".picker");
  if (picker.open && !picker.contains(target)) picker.open = false;
});
