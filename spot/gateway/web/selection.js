// Which markets the overview lists, and in which order.

/** @typedef {import("./types.js").Row} Row */
/** @typedef {"product" | "price" | "change" | "turnover"} Column */

/** @type {Record<Column, (row: Row) => number | string>} */
const VALUES = {
  product: (row) => row.product,
  price: (row) => Number(row.price ?? -1),
  change: (row) => row.change ?? -Infinity,
  turnover: (row) => row.turnover,
};

/** How well a market fits what was typed: 0 not at all, more is better.
 * @param {Row} row @param {string} wanted in capitals */
export function fit(row, wanted) {
  const plain = wanted.replace(/[\s/_-]+/g, "-");
  if (row.base === wanted || row.product === plain) return 4;
  if (row.base.startsWith(wanted)) return 3;
  if (row.product.startsWith(plain)) return 2;
  return row.product.includes(plain) ? 1 : 0;
}

/** The markets that fit, best first, then the favourites, then as the column says.
 * @param {Iterable<Row>} rows
 * @param {{wanted: string, column: Column, isDescending: boolean, isStarred: (product: string) => boolean, starredOnly: boolean}} choice
 * @returns {Row[]} */
export function select(rows, choice) {
  const wanted = choice.wanted.trim().toUpperCase();
  const value = VALUES[choice.column];
  const sign = choice.isDescending ? -1 : 1;
  // Judged once each: a comparison that computed its keys would do so ten times as often.
  const keyed = [];
  for (const row of rows) {
    const fits = wanted ? fit(row, wanted) : 1;
    const star = choice.isStarred(row.product) ? 1 : 0;
    if (fits && (star || !choice.starredOnly)) keyed.push({ row, fits, star, key: value(row) });
  }
  keyed.sort((a, b) => {
    if (a.fits !== b.fits) return b.fits - a.fits;
    if (a.star !== b.star) return b.star - a.star;
    if (a.key !== b.key) return (a.key < b.key ? -1 : 1) * sign;
    return a.row.product < b.row.product ? -1 : 1;
  });
  return keyed.map(({ row }) => row);
}

/** Names like the one that does not exist, for the reader who mistyped.
 * @param {Iterable<string>} names @param {string} wanted */
export function near(names, wanted) {
  const [base = ""] = wanted.toUpperCase().split("-");
  const scored = [...names].map((name) => ({ name, distance: distance(name.split("-")[0], base) }));
  scored.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
  return scored.filter((one) => one.distance <= Math.max(1, base.length / 2)).slice(0, 5).map((one) => one.name);
}

/** Letters to add, drop or change. @param {string} a @param {string} b */
function distance(a, b) {
  let former = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const changed = former[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(former[j] + 1, next[j - 1] + 1, changed));
    }
    former = next;
  }
  return former[b.length];
}
