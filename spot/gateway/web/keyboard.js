// Everything by keyboard. Single letters can be switched off, for those whose voice types them.

import { GRANULARITIES } from "./granularities.js";
import { store, stored } from "./preferences.js";

/**
 * @typedef {object} Actions
 * @property {() => void} search
 * @property {(step: number, isFar: boolean) => void} move in the list
 * @property {() => void} openFirst
 * @property {() => void} star the market in focus, else the one of the chart
 * @property {(granularity: string) => void} granularity
 * @property {(step: number) => void} step in the chart
 * @property {() => void} leave
 * @property {() => void} now
 * @property {() => void} log
 * @property {() => void} pause
 * @property {() => void} say
 * @property {() => void} help
 * @property {() => void} back
 */

/** @param {Actions} actions */
export function listenToKeys(actions) {
  const letters = /** @type {HTMLInputElement} */ (document.getElementById("letters"));
  letters.checked = stored("letters", "on") === "on";
  letters.addEventListener("change", () => store("letters", letters.checked ? "on" : "off"));

  /** @type {Record<string, () => void>} */
  const single = {
    "/": actions.search, f: actions.star, n: actions.now, l: actions.log, p: actions.pause, a: actions.say,
    "?": actions.help,
  };
  GRANULARITIES.forEach(({ name }, index) => { single[String(index + 1)] = () => actions.granularity(name); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const handled = inSearch(event, target, actions) ?? inList(event, target, actions)
      ?? inChart(event, target, actions) ?? anywhere(event, target);
    if (handled) event.preventDefault();
  });

  /** @param {KeyboardEvent} event @param {HTMLElement} target */
  function anywhere(event, target) {
    if (target.matches("input, select, textarea") || document.querySelector("dialog[open]")) return false;
    if (event.key === "Escape" && !document.querySelector(":popover-open")) {
      actions.back();
      return true;
    }
    const action = letters.checked ? single[event.key] : undefined;
    action?.();
    return action !== undefined;
  }
}

/** @param {KeyboardEvent} event @param {HTMLElement} target @param {Actions} actions @returns {boolean | null} */
function inSearch(event, target, actions) {
  if (target.id !== "search") return null;
  const field = /** @type {HTMLInputElement} */ (target);
  if (event.key === "ArrowDown") actions.move(1, false);
  else if (event.key === "Enter") actions.openFirst();
  else if (event.key === "Escape" && field.value) {
    field.value = "";
    field.dispatchEvent(new Event("input"));
  } else if (event.key === "Escape") field.blur();
  else return false;
  return true;
}

/** @param {KeyboardEvent} event @param {HTMLElement} target @param {Actions} actions @returns {boolean | null} */
function inList(event, target, actions) {
  if (!target.closest("#rows")) return null;
  /** @type {Record<string, [number, boolean]>} */
  const moves = {
    ArrowDown: [1, false], ArrowUp: [-1, false], PageDown: [10, false], PageUp: [-10, false],
    Home: [-1, true], End: [1, true],
  };
  const found = moves[event.key];
  if (!found) return null;
  actions.move(...found);
  return true;
}

/** @param {KeyboardEvent} event @param {HTMLElement} target @param {Actions} actions @returns {boolean | null} */
function inChart(event, target, actions) {
  if (!target.closest(".plot")) return null;
  if (event.key === "ArrowLeft") actions.step(event.shiftKey ? -10 : -1);
  else if (event.key === "ArrowRight") actions.step(event.shiftKey ? 10 : 1);
  else if (event.key === "End") actions.now();
  else if (event.key === "Escape") actions.leave();
  else return null;
  return true;
}
