// Times in the zone the reader chose. Data stays in UTC; only what is written is shifted.

import { stored, store } from "./preferences.js";

const COMMON = [
  "UTC", "America/New_York", "America/Chicago", "America/Los_Angeles", "America/Sao_Paulo", "Europe/London",
  "Europe/Berlin", "Asia/Dubai", "Asia/Kolkata", "Asia/Singapore", "Asia/Tokyo", "Australia/Sydney",
];
const LOCAL = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** @type {Map<string, Intl.DateTimeFormat>} */
const formats = new Map();
let zone = valid(stored("zone", LOCAL)) ? stored("zone", LOCAL) : LOCAL;

/** @param {string} name */
function valid(name) {
  try {
    return Boolean(new Intl.DateTimeFormat("en-GB", { timeZone: name }));
  } catch {
    return false;
  }
}

export function chosenZone() {
  return zone;
}

/** @param {string} name */
export function chooseZone(name) {
  if (!valid(name)) return;
  zone = name;
  store("zone", name);
  formats.clear();
}

/** The zones on offer, the reader's own first. @returns {{name: string, label: string}[]} */
export function zones() {
  const names = [...new Set([LOCAL, zone, ...COMMON])];
  return names.map((name) => {
    const city = (name.split("/").at(-1) ?? name).replaceAll("_", " ");
    return { name, label: name === LOCAL && name !== "UTC" ? `${city} (local)` : city };
  });
}

/** @param {string} kind @param {Intl.DateTimeFormatOptions} options */
function format(kind, options) {
  const known = formats.get(kind);
  if (known) return known;
  const made = new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...options });
  formats.set(kind, made);
  return made;
}

/** A clock time like 14:05. @param {number} seconds */
export function clock(seconds) {
  return format("clock", { hour: "2-digit", minute: "2-digit" }).format(seconds * 1000);
}

/** A clock time with seconds. @param {number} seconds */
export function second(seconds) {
  return format("second", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(seconds * 1000);
}

/** A day like 23 Nov. @param {number} seconds */
export function day(seconds) {
  return format("day", { day: "numeric", month: "short" }).format(seconds * 1000);
}

/** @param {number} seconds */
export function month(seconds) {
  return format("month", { month: "short" }).format(seconds * 1000);
}

/** @param {number} seconds */
export function year(seconds) {
  return format("year", { year: "numeric" }).format(seconds * 1000);
}

/** When a candle starts; a day's candle is Coinbase's day, which is one of UTC.
 * @param {number} seconds @param {number} lasts */
export function moment(seconds, lasts) {
  const date = format("date", { day: "numeric", month: "short", year: "numeric" });
  return lasts >= 86_400 ? date.format(seconds * 1000) : `${date.format(seconds * 1000)} ${clock(seconds)}`;
}

/** The wall clock there as [year, month, day, hour, minute]. @param {number} seconds */
export function parts(seconds) {
  const text = format("parts", {
    year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
  }).format(seconds * 1000);
  const [days, months, years, hours, minutes] = text.split(/\D+/).map(Number);
  return [years, months, days, hours, minutes];
}
