// Candles and volume as SVG, on whole pixels: hollow where the close is not below the open, else filled.

const NS = "http://www.w3.org/2000/svg";
const DIGIT = 6.3; // width of a digit of the scale
const VOLUME_SHARE = 0.2;
const MIN_STEP = 5;

/** Draw `bars` (ascending) into `svg`; `pointed` is the start of the bar under the pointer, or null. */
export function draw(svg, bars, pointed) {
  const width = Math.floor(svg.clientWidth);
  const height = Math.floor(svg.clientHeight);
  const last = bars.at(-1);
  if (!width || !height || !last) return;
  const scale = (price) => label(price, last.close);
  const axis = Math.ceil(Math.max(...bars.map((bar) => scale(Number(bar.high)).length)) * DIGIT) + 8;
  const room = width - axis;
  const step = Math.max(MIN_STEP, Math.floor(room / Math.max(bars.length, 24)));
  const shown = bars.slice(-Math.floor(room / step));
  const high = Math.max(...shown.map((bar) => Number(bar.high)));
  const low = Math.min(...shown.map((bar) => Number(bar.low)));
  const volume = Math.max(...shown.map((bar) => Number(bar.volume))) || 1;
  const floor = Math.round(height * (1 - VOLUME_SHARE));
  const span = high - low || Math.abs(high) * 0.001 || 1;
  const y = (price) => Math.round(8 + ((high - Number(price)) / span) * (floor - 22)) + 0.5;
  const left = (index) => room - (shown.length - index) * step;
  const body = Math.max(3, step - 2 - (step % 2 ? 0 : 1)); // odd, so that the wick is in its middle
  const paths = { up: "", down: "", volume: "" };
  shown.forEach((bar, index) => {
    const x = left(index) + 0.5;
    const middle = x + (body - 1) / 2;
    const isDown = Number(bar.close) < Number(bar.open);
    const [top, bottom] = isDown ? [y(bar.open), y(bar.close)] : [y(bar.close), y(bar.open)];
    const box = `M${x} ${top}h${body - 1}V${bottom}h${1 - body}Z`;
    paths[isDown ? "down" : "up"] += `M${middle} ${y(bar.high)}V${top}M${middle} ${bottom}V${y(bar.low)}${box}`;
    const tall = Math.round((Number(bar.volume) / volume) * (height - floor));
    if (tall) paths.volume += `M${x - 0.5} ${height}v${-tall}h${body}v${tall}Z`;
  });
  const at = shown.findIndex((bar) => bar.start === pointed);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren(
    ...(at < 0 ? [] : [shape("rect", { class: "pointed", x: left(at) - 1, y: 0, width: step, height })]),
    shape("path", { class: "grid", d: `M0 ${y(high)}H${room}M0 ${y(low)}H${room}` }),
    shape("path", { class: "volume", d: paths.volume }),
    shape("path", { class: "last", d: `M0 ${y(last.close)}H${room}` }),
    shape("path", { class: "up", d: paths.up }),
    shape("path", { class: "down", d: paths.down }),
    text(room + 7, y(high) + 3.5, scale(high)),
    ...(high > low ? [text(room + 7, y(low) + 3.5, scale(low))] : []),
  );
  svg.barAt = (x) => shown[Math.floor((x - left(0)) / step)]?.start ?? null;
}

/** A price of the scale, with as many digits as the last price has. */
function label(price, like) {
  return price.toFixed(Math.min(12, (like.split(".")[1] ?? "").length));
}

function text(x, y, content) {
  const node = shape("text", { x, y });
  node.textContent = content;
  return node;
}

function shape(name, attributes) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
