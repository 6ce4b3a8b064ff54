// Draws a result of `honed bench`. All that it shows is in the element #data.
"use strict";

const result = JSON.parse(document.getElementById("data").textContent);
const NS = "http://www.w3.org/2000/svg";
// Marks this rare get a line of their own with a name; the others a tick.
const NAMED = new Set(["version", "rollback", "paused", "resumed", "quarantined", "away", "back"]);
const TICKS = { revision: ["--mark", 0], label: ["--label", 6] };
const draws = [];

// --- elements ---------------------------------------------------------------------------------

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(parent, name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  parent.append(made);
  return made;
}

function table(columns, rows) {
  const head = element("tr", {}, ...columns.map((column) => element("th", {}, column)));
  const body = rows.map((row) =>
    element("tr", {}, ...row.map((cell) => element("td", {}, String(cell ?? "")))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function legend(id, entries) {
  document.getElementById(id).append(...entries.map(([colour, name]) =>
    element("span", {}, element("i", { style: `background: var(${colour})` }), name)));
}

// --- numbers ----------------------------------------------------------------------------------

const ms = (value) =>
  value == null ? "" : value === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2);
const share = (part, whole) => (part ? `${((100 * part) / whole).toFixed(1)} %` : "");
const spread = (found) => (found == null ? "" : found.low === found.high ? found.median.toFixed(1)
  : `${found.median.toFixed(1)} (${found.low.toFixed(1)} to ${found.high.toFixed(1)})`);
const names = result.arms.map((arm) => titled(arm));

function titled(arm) {
  return result.servers.length > 1 ? `${arm.arm} · ${arm.server}` : arm.arm;
}

// Round steps, so that an axis from 0 to `top` has about `count` of them.
function ticks(top, count) {
  const raw = top / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const found = [];
  for (let at = 0; at <= top * 1.0001; at += step) found.push(at);
  return found;
}

const maximum = (values, least) => Math.max(least, ...values.filter((value) => value != null));

// --- charts -----------------------------------------------------------------------------------

// Calls `draw(svg, width)` now and whenever the width changes.
function chart(box, height, draw) {
  const redraw = () => {
    const width = box.clientWidth;
    const svg = shape({ append: (made) => box.replaceChildren(made) }, "svg",
      { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
    draw(svg, width);
  };
  draws.push(redraw);
}

function line(svg, points, colour) {
  let path = "", pen = "M";
  for (const [x, y] of points) {
    if (y == null) { pen = "M"; continue; }
    path += `${pen}${x.toFixed(1)},${y.toFixed(1)}`;
    pen = "L";
  }
  shape(svg, "path", { d: path, class: "curve", stroke: `var(${colour})` });
}

function drawRun(svg, width, run, topMs, topRate) {
  const left = 44, right = width - 14, high = 8, low = 168, floor = 248, ceiling = 196;
  const x = (second) => left + ((right - left) * second) / run.timeline.length;
  const y = (value) => low - ((low - high) * value) / topMs;
  const rate = (value) => floor - ((floor - ceiling) * value) / topRate;
  for (const value of ticks(topMs, 4)) {
    shape(svg, "line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" });
    shape(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, ms(value));
  }
  for (const value of ticks(run.timeline.length, 6)) {
    shape(svg, "text", { x: x(value), y: floor + 14, "text-anchor": "middle" }, `${+value.toFixed(1)} s`);
  }
  shape(svg, "text", { x: left - 6, y: ceiling + 8, "text-anchor": "end" }, `${Math.round(topRate)}/s`);
  drawMarks(svg, run.marks, x, high, low);
  for (const second of run.timeline) drawCounts(svg, second, x, rate, floor);
  line(svg, run.timeline.map((s) => [x(s.second + 0.5), rate(Math.min(s.finished, topRate))]), "--ink");
  const middle = (name) => run.timeline.map((s) => [x(s.second + 0.5), s[name] == null ? null : y(s[name])]);
  line(svg, middle("p99_ms"), "--p99");
  line(svg, middle("p50_ms"), "--p50");
  for (const second of run.timeline) {
    const bar = shape(svg, "rect", { x: x(second.second), y: high, width: x(1) - x(0),
      height: floor - high, class: "hover" });
    shape(bar, "title", {}, `second ${second.second}: p50 ${ms(second.p50_ms)} ms, `
      + `p99 ${ms(second.p99_ms)} ms, slowest ${ms(second.max_ms)} ms\n${second.requests} requests, `
      + `${second.answered} answered, ${second.refused} refused, ${second.failed} failed`);
  }
}

function drawCounts(svg, second, x, rate, floor) {
  let from = 0;
  for (const kind of ["answered", "refused", "failed"]) {
    const to = from + second[kind];
    shape(svg, "rect", { x: x(second.second) + 0.5, width: Math.max(x(1) - x(0) - 1, 0.5),
      y: rate(to), height: rate(from) - rate(to), fill: `var(--${kind})` });
    from = to;
  }
}

function drawMarks(svg, marks, x, high, low) {
  for (const mark of marks) {
    const at = x(mark.at_s);
    if (NAMED.has(mark.kind)) {
      shape(svg, "line", { x1: at, x2: at, y1: high, y2: low, stroke: "var(--mark)",
        "stroke-dasharray": "3 3" });
      shape(svg, "text", { x: at + 3, y: high + 8 }, mark.kind);
    } else if (mark.kind in TICKS) {
      const [colour, down] = TICKS[mark.kind];
      shape(svg, "line", { x1: at, x2: at, y1: low + 8 + down, y2: low + 13 + down,
        stroke: `var(${colour})`, "stroke-opacity": 0.7 });
    }
  }
}

function drawCurves(svg, width) {
  const left = 44, right = width - 30, high = 8, low = 270;
  const most = maximum(result.arms.map((arm) => arm.latency?.count), 10);
  const depth = Math.max(Math.ceil(Math.log10(most)), 2);
  const x = (percentile) => left
    + ((right - left) * Math.min(-Math.log10(Math.max(1 - percentile / 100, 10 ** -depth)), depth)) / depth;
  const top = maximum(result.arms.map((arm) => arm.latency?.max_ms), 1);
  const y = (value) => low - ((low - high) * value) / top;
  for (const value of ticks(top, 5)) {
    shape(svg, "line", { x1: left, x2: right, y1: y(value), y2: y(value), class: "grid" });
    shape(svg, "text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, ms(value));
  }
  const shown = [50, ...Array.from({ length: depth }, (_, n) => 100 - 10 ** (1 - n))];
  for (const percentile of shown) {
    shape(svg, "line", { x1: x(percentile), x2: x(percentile), y1: high, y2: low, class: "grid" });
    shape(svg, "text", { x: x(percentile), y: low + 16, "text-anchor": "middle" },
      `${+percentile.toFixed(6)} %`);
  }
  result.curves.forEach((curve, n) =>
    line(svg, curve.map(([percentile, value]) => [x(percentile), y(value)]), `--c${n % 6}`));
}

// The ratios of a comparison with their intervals; 1 is no difference.
function drawRatios(svg, width, rows) {
  const left = 52, right = width - 20;
  const reach = maximum(rows.flatMap(([, of]) => [of.high, 1 / of.low]), 1.05);
  const x = (ratio) => (left + right) / 2 + ((right - left) * Math.log(ratio)) / Math.log(reach) / 2;
  const bottom = rows.length * 30 + 4;
  for (const ratio of [1 / reach, 1, reach]) {
    shape(svg, "line", { x1: x(ratio), x2: x(ratio), y1: 4, y2: bottom, class: "grid" });
    shape(svg, "text", { x: x(ratio), y: bottom + 14, "text-anchor": "middle" }, ratio.toFixed(2));
  }
  rows.forEach(([name, of], n) => {
    const y = n * 30 + 19;
    shape(svg, "text", { x: 0, y: y + 4 }, named(name));
    shape(svg, "line", { x1: x(of.low), x2: x(of.high), y1: y, y2: y,
      stroke: "var(--p50)", "stroke-width": 2 });
    shape(svg, "circle", { cx: x(of.ratio), cy: y, r: 4.5, fill: "var(--p50)" });
  });
}

const named = (percentile) => percentile.replace("_ms", "").replace("99_9", "99.9");

// --- sections ---------------------------------------------------------------------------------

function showHead() {
  document.getElementById("title").textContent = `honed bench · ${result.scenario}`;
  document.getElementById("origin").textContent = [result.date.slice(0, 16).replace("T", " ") + " UTC",
    `${result.machine.cores} × ${result.machine.cpu}`, `Python ${result.versions.python}`,
    `commit ${result.commit.slice(0, 12)}`].join(" · ");
  document.getElementById("command").textContent = result.command;
  document.getElementById("faults").append(...result.why.map((fault) => element("li", {}, fault)));
}

function showTiles() {
  document.getElementById("tiles").append(...result.arms.map((arm, n) => {
    const pair = element("div", { class: "pair" },
      ...["p50_ms", "p99_ms"].map((name) => element("div", {},
        element("b", {}, ms(arm.latency?.[name]) || "–"), element("small", {}, `${named(name)} ms`))),
      element("div", {}, element("b", {}, arm.achieved_per_s.median.toFixed(0)), element("small", {}, "answers/s")));
    const lost = arm.refused + arm.failed;
    const note = lost ? `${share(arm.refused, arm.requests) || "none"} refused, ${arm.failed} failed` : "no request refused or failed";
    return element("div", { class: "card tile" }, element("h3", {}, names[n]), pair, element("small", {}, note));
  }));
}

function showComparisons() {
  for (const found of result.comparisons) {
    const rows = Object.entries(found.percentiles);
    if (!rows.length) continue;
    const box = element("div", { class: "chart" });
    const columns = ["percentile", found.first, found.second, "ratio", "95 % interval"];
    document.getElementById("comparisons").append(
      element("h2", {}, `${found.second} over ${found.first}`),
      element("p", { class: "quiet" }, `Latency in ms: medians and ranges of ${found.rounds} interleaved round${found.rounds === 1 ? "" : "s"}, `
        + "and the ratio of the pooled percentiles with its 95 % interval."),
      element("div", { class: "card" }, box, element("div", { class: "wide" }, table(columns,
        rows.map(([name, of]) => [named(name), spread(of.first), spread(of.second), of.ratio.toFixed(3),
          `${of.low.toFixed(3)} to ${of.high.toFixed(3)}`])))));
    chart(box, rows.length * 30 + 28, (svg, width) => drawRatios(svg, width, rows));
  }
}

function showRuns() {
  const seconds = result.runs.flatMap((run) => run.timeline);
  const topMs = maximum(seconds.map((second) => second.p99_ms), 1) * 1.05;
  const topRate = maximum(seconds.map((second) => second.requests), 1);
  const kinds = new Set(result.runs.flatMap((run) => run.marks.map((mark) => mark.kind)));
  legend("time-legend", [["--p50", "p50"], ["--p99", "p99"], ["--answered", "answered"],
    ["--ink", "answers that came in the second"], ["--refused", "refused"], ["--failed", "failed"],
    ...(kinds.has("revision") ? [["--mark", "a revision was served"]] : []),
    ...(kinds.has("label") ? [["--label", "a label was acknowledged"]] : [])]);
  for (const run of result.runs) {
    const box = element("div", { class: "chart" });
    document.getElementById("runs").append(element("div", { class: "card" },
      element("h3", {}, `${titled(run)}, round ${run.round + 1}`), box));
    chart(box, 266, (svg, width) => drawRun(svg, width, run, topMs, topRate));
  }
}

function showFigures() {
  const percentiles = ["mean_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms"];
  const rows = [
    ["offered/s", (arm) => spread(arm.offered_per_s)],
    ["answers/s", (arm) => spread(arm.achieved_per_s)],
    ["requests", (arm) => arm.requests],
    ...percentiles.map((name) => [`latency ${named(name)}, ms`, (arm) => ms(arm.latency?.[name])]),
    ["service p99, ms", (arm) => ms(arm.service?.p99_ms)],
    ["queued p99, ms", (arm) => ms(arm.queued?.p99_ms)],
    ["computed p99, ms", (arm) => ms(arm.computed?.p99_ms)],
    ["refused", (arm) => share(arm.refused, arm.requests)],
    ["refusal p99, ms", (arm) => ms(arm.refusal?.p99_ms)],
    ["failed", (arm) => arm.failed || ""],
    ["label to served p50, ms", (arm) => ms(arm.label_to_served?.p50_ms)],
    ["label to served p99, ms", (arm) => ms(arm.label_to_served?.p99_ms)],
  ].map(([name, read]) => [name, ...result.arms.map(read)]);
  const said = rows.filter(([, ...cells]) => cells.some((cell) => cell !== ""));
  document.getElementById("figures").append(table(["", ...names], said));
}

function showLoadgen() {
  const found = result.loadgen;
  if (found === null) return;
  const percentiles = Object.keys(found.latency), ours = result.arms[0];
  document.getElementById("loadgen").append(element("h2", {}, "MLPerf LoadGen"),
    element("div", { class: "wide" }, table(["generator", "answers/s", ...percentiles.map(named)], [
      ["honed bench", spread(ours.achieved_per_s), ...percentiles.map((name) => ms(ours.latency?.[name]))],
      ["MLPerf LoadGen", found.achieved_per_s.toFixed(1), ...percentiles.map((name) => ms(found.latency[name]))]])));
}

function showCircumstances() {
  const cards = { Settings: result.settings, Machine: result.machine, Versions: result.versions };
  for (const [name, facts] of Object.entries(cards)) {
    const rows = Object.entries(facts).filter(([, value]) => value !== null && value !== "" && value.length !== 0);
    document.getElementById("circumstances").append(element("div", { class: "card" }, element("h3", {}, name),
      table(["", ""], rows.map(([key, value]) => [key.replaceAll("_", " "), value]))));
  }
}

showHead(); showTiles(); showComparisons(); showRuns(); showFigures(); showLoadgen(); showCircumstances();
legend("curve-legend", names.map((name, n) => [`--c${n % 6}`, name]));
chart(document.getElementById("curves"), 294, drawCurves);
const redraw = () => draws.forEach((draw) => draw());
redraw();
addEventListener("resize", redraw);
