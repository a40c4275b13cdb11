// What a <spot-candle> looks like: its markup and its style, shared by all of them.

export const template = document.createElement("template");
template.innerHTML = `
<article id="card">
  <h2><span id="product"></span><span id="short"></span><span id="partial" title="Not every trade of this candle is proven to be in it" hidden>partial</span></h2>
  <div class="headline"><span id="price"></span><span id="change"></span></div>
  <svg id="chart" aria-hidden="true"></svg>
  <dl class="prices">
    <div><dt>Open</dt><dd id="open"></dd></div><div><dt>High</dt><dd id="high"></dd></div>
    <div><dt>Low</dt><dd id="low"></dd></div><div><dt>Close</dt><dd id="close"></dd></div>
    <div><dt>Volume</dt><dd id="volume"></dd></div><div><dt>Trades</dt><dd id="trades"></dd></div>
  </dl>
  <p class="foot"><span><b id="when"></b> <span id="state"></span></span><span>last trade <b id="updated"></b></span></p>
</article>`;

export const sheet = new CSSStyleSheet();
sheet.replaceSync(`
* { box-sizing: border-box; }
:host { display: block; min-width: 0; }
article { height: 100%; padding: 1rem 1.1rem .8rem; border: 1px solid var(--line); border-radius: 14px;
  background: var(--surface); transition: opacity .3s; display: grid; grid-template-rows: auto auto auto 1fr auto; }
h2 { display: flex; align-items: baseline; gap: .5rem; margin: 0; font-size: .95rem; font-weight: 600; }
#short { color: var(--muted); font-weight: 500; font-size: .8rem; }
#partial { margin-left: auto; font-size: .72rem; font-weight: 500; padding: .05rem .45rem; border-radius: 6px;
  border: 1px dashed var(--notice); color: var(--notice); }
.headline { display: flex; align-items: baseline; justify-content: space-between; gap: .8rem; min-height: 2.5rem; opacity: var(--freshness); }
#price { font-size: 1.75rem; font-weight: 620; letter-spacing: -.02em; border-radius: 6px; white-space: nowrap; }
#change { font-size: .92rem; font-weight: 550; white-space: nowrap; }
.up { color: var(--up); } .down { color: var(--down); } .flat { color: var(--muted); }
#chart { display: block; width: 100%; height: 9.5rem; margin: .35rem 0 .55rem; opacity: var(--freshness); touch-action: pan-y; }
#chart .up { stroke: var(--up); fill: var(--surface); }
#chart .down { stroke: var(--down); fill: var(--down); }
#chart .volume { fill: var(--muted); opacity: .28; stroke: none; }
#chart .last { stroke: var(--muted); stroke-dasharray: 2 3; }
#chart .grid { stroke: var(--line); }
#chart .pointed { fill: var(--raised); stroke: none; }
#chart text { fill: var(--muted); font-size: 10.5px; }
.prices { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .12rem 1.4rem; margin: 0; font-size: .84rem; align-content: start; }
.prices div { display: flex; justify-content: space-between; gap: .6rem; min-width: 0; }
dt { color: var(--muted); } dd { margin: 0; overflow: hidden; text-overflow: ellipsis; opacity: var(--freshness); }
.foot { display: flex; justify-content: space-between; gap: 1rem; margin: .6rem 0 0; padding-top: .5rem; border-top: 1px solid var(--line);
  color: var(--muted); font-size: .78rem; }
.foot b { font-weight: 550; color: var(--text); }
.waiting .headline::after { content: "waiting for the first trade"; color: var(--muted); font-size: .9rem; }
.waiting #change, .waiting .prices, .waiting .foot { visibility: hidden; }
@media (prefers-reduced-motion: no-preference) {
  .rose { animation: rose .7s ease-out; } .fell { animation: fell .7s ease-out; }
  @keyframes rose { from { color: var(--up); } } @keyframes fell { from { color: var(--down); } }
}`);
