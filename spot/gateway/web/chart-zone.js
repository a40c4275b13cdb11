// A time scale that knows time zones: days begin at midnight where the reader is, not in Greenwich.
//
// Lightweight Charts counts in UTC. Shifting the data itself would put two bars on one moment when clocks
// go back, so the data stays and only the marks are weighed and written by the wall clock.

import { clock, day, month, parts, year } from "./zone.js";

// Empty bars right of the newest candle.
export const RIGHT_OFFSET = 6;

// The library's own weights of marks: the heavier, the earlier it is shown.
const WEIGHT = { minute: 20, minutes5: 21, minutes30: 22, hour: 30, hours3: 31, hours6: 32, hours12: 33, day: 50, month: 60, year: 70 };

/** @param {number[]} now @param {number[]} before */
function weigh(now, before) {
  if (now[0] !== before[0]) return WEIGHT.year;
  if (now[1] !== before[1]) return WEIGHT.month;
  if (now[2] !== before[2]) return WEIGHT.day;
  const minutes = now[3] * 60 + now[4];
  const former = before[3] * 60 + before[4];
  const isCrossed = (/** @type {number} */ step) => Math.floor(minutes / step) !== Math.floor(former / step);
  if (isCrossed(720)) return WEIGHT.hours12;
  if (isCrossed(360)) return WEIGHT.hours6;
  if (isCrossed(180)) return WEIGHT.hours3;
  if (isCrossed(60)) return WEIGHT.hour;
  if (isCrossed(30)) return WEIGHT.minutes30;
  return isCrossed(5) ? WEIGHT.minutes5 : WEIGHT.minute;
}

/** @param {any} library */
export function zonedScale(library) {
  const Base = library.defaultHorzScaleBehavior();
  return new (class extends Base {
    /** @param {{originalTime: number, timeWeight: number}[]} points @param {number} from */
    fillWeightsForPoints(points, from) {
      let before = from > 0 ? parts(points[from - 1].originalTime) : null;
      for (let index = from; index < points.length; index += 1) {
        const now = parts(points[index].originalTime);
        points[index].timeWeight = before ? weigh(now, before) : WEIGHT.hour;
        before = now;
      }
    }
  })();
}

/** Write a mark of the scale. @param {number} at UNIX seconds @param {number} kind the library's TickMarkType */
export function mark(at, kind) {
  if (kind === 0) return year(at);
  if (kind === 1) return month(at);
  return kind === 2 ? day(at) : clock(at);
}
