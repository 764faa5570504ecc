// Asks for the study every few seconds and draws it. Whatever comes from the database is set as text, never as HTML.
"use strict";
const EVERY = 4000; // milliseconds
const GREY = "#7d8590"; // of what is neither known nor the best
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
let chosen = null;
let last = null;

const four = (value) => (value === null || value === undefined ? "" : Number(value).toPrecision(5));

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function cell(kind, text, scope, number = kind === "td") {
  const made = document.createElement(kind);
  made.textContent = text;
  if (scope) made.scope = scope;
  if (number) made.className = "number";
  return made;
}

function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough * 0.999);
  const found = [];
  const first = Math.ceil(low / step); // counted, since a step may be too small to change a number of this size
  for (let n = 0; n <= 2 * most && (first + n) * step <= high + step * 1e-6; n++) found.push(Number(((first + n) * step).toPrecision(10)));
  return found;
}

// The frame of a chart: axes with their names; gives the two scales.
function frame(svg, xs, ys, xname, yname, xticks, right = 12) {
  svg.classList.remove("empty");
  const width = svg.clientWidth || 300;
  svg.setAttribute("viewBox", `0 0 ${width} 300`); // on paper the chart becomes narrower with the page
  const span = (values) => {
    const low = Math.min(...values), high = Math.max(...values), pad = (high - low) * 0.06 || Math.abs(high) * 0.01 || 1;
    return [low - pad, high + pad];
  };
  const [x0, x1] = span(xs), [y0, y1] = span(ys);
  const yticks = ticks(y0, y1, 5);
  const box = { left: 36 + 7 * Math.max(...yticks.map((tick) => String(tick).length)), right: width - right, top: 12, bottom: 252 };
  const x = (value) => box.left + ((value - x0) / (x1 - x0)) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - y0) / (y1 - y0)) * (box.bottom - box.top);
  svg.replaceChildren();
  for (const tick of yticks) {
    svg.append(element("line", { class: "grid", x1: box.left, x2: box.right, y1: y(tick), y2: y(tick) }));
    svg.append(element("text", { x: box.left - 8, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of xticks || ticks(x0, x1, Math.min(8, width / 70)).filter(Number.isInteger)) {
    svg.append(element("text", { x: x(tick), y: box.bottom + 18, "text-anchor": "middle" }, String(tick)));
  }
  svg.append(element("text", { x: (box.left + box.right) / 2, y: box.bottom + 40, "text-anchor": "middle" }, xname));
  const middle = (box.top + box.bottom) / 2;
  svg.append(element("text", { x: 12, y: middle, "text-anchor": "middle", transform: `rotate(-90 12 ${middle})` }, yname));
  return [x, y];
}

function nothing(svg, text) {
  svg.replaceChildren(element("text", { x: 0, y: 20 }, text));
  svg.classList.add("empty");
  svg.removeAttribute("viewBox");
  svg.setAttribute("aria-label", text);
}

function points(study) {
  const svg = at("points"), rows = study.rows.filter((row) => row.mean !== null);
  at("points-caption").textContent = study.race
    ? "Small dots: seeds. Circle: their mean, with its standard error. Diamond: what a further run is expected to give, with the standard deviation of that."
    : "The best trials by their value.";
  if (!rows.length) return nothing(svg, "No trial is complete yet.");
  const ends = (value, error) => (value === null ? [] : [value - (error || 0), value + (error || 0)]);
  const ys = rows.flatMap((row) => [...row.values, ...ends(row.mean, row.error), ...ends(row.expected, row.spread)]).filter((v) => v !== null);
  const ranks = rows.map((_, index) => index + 1);
  const [x, y] = frame(svg, [0.5, rows.length + 0.5], ys, "rank", study.objective, ranks.filter((r) => rows.length < 12 || r % 5 === 0 || r === 1));
  rows.forEach((row, index) => {
    const middle = x(index + 1), paint = { fill: row.colour, stroke: row.colour };
    const bar = (shift, value, error) => error !== null && svg.append(element("line", { ...paint, "stroke-width": 2, x1: middle + shift, x2: middle + shift, y1: y(value - error), y2: y(value + error) }));
    if (study.race) for (const value of row.values) if (value !== null) svg.append(element("circle", { ...paint, "fill-opacity": 0.5, "stroke-width": 0, cx: middle - 4, cy: y(value), r: 3 }));
    bar(-4, row.mean, row.error);
    svg.append(element("circle", { ...paint, cx: middle - 4, cy: y(row.mean), r: 5.5 }));
    if (row.expected !== null) {
      bar(6, row.expected, row.spread);
      const top = y(row.expected);
      svg.append(element("path", { ...paint, d: `M${middle + 6} ${top - 6}l6 6l-6 6l-6 -6z` }));
    }
  });
  svg.setAttribute("aria-label", `Points by rank. ${rows.slice(0, 5).map((row) => `${row.name}: ${four(row.mean)}`).join("; ")}`);
}

function table(study) {
  const names = [...new Set(study.rows.flatMap((row) => Object.keys(row.params)))];
  const repeated = study.rows.some((row) => row.error !== null); // one run of a point has no standard error
  const figures = study.race ? ["mean", ...(repeated ? ["standard error"] : []), "expected", "standard deviation", "seeds"] : ["value"];
  const head = document.createElement("tr");
  for (const name of ["point", ...figures, ...names]) head.append(cell("th", name, "col", name !== "point"));
  at("head").replaceChildren(head);
  at("rows").replaceChildren(...study.rows.map((row) => {
    const line = document.createElement("tr");
    const heading = cell("th", row.name, "row"), dot = document.createElement("span");
    dot.className = "dot";
    dot.style.setProperty("--c", row.colour);
    heading.prepend(dot);
    line.append(heading);
    const held = study.race
      ? [four(row.mean), ...(repeated ? [four(row.error)] : []), four(row.expected), four(row.spread), row.seeds.join(" ")]
      : [row.values.map(four).join(", ")];
    for (const text of [...held, ...names.map((name) => row.params[name] ?? "")]) line.append(cell("td", text));
    return line;
  }));
}

// Names beside the ends of curves, from top to bottom, each at least a line's height below the one before.
function apart(labels) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  sorted.forEach((label, index) => {
    if (index) label.y = Math.max(label.y, sorted[index - 1].y + 13);
  });
  return sorted;
}

// What fits beside a chart; the table has the whole name.
function shortened(text) {
  return text.length > 11 ? `${text.slice(0, 10)}…` : text;
}

function curves(study) {
  const svg = at("curves"), drawn = study.curves.filter((curve) => curve.points.length);
  if (!drawn.length) return nothing(svg, "No trial has reported an epoch yet.");
  const all = drawn.flatMap((curve) => curve.points);
  const [x, y] = frame(svg, all.map((p) => p[0]), all.map((p) => p[1]), "epoch", study.objective, undefined, 74);
  const labels = [];
  for (const curve of drawn) {
    const classes = ["line", curve.known ? "marked" : "", curve.state].join(" ");
    const line = element("polyline", { class: classes, stroke: curve.colour, points: curve.points.map((p) => `${x(p[0])},${y(p[1])}`).join(" ") });
    line.append(element("title", {}, `${curve.name} ${curve.known} (${curve.state})`));
    svg.append(line);
    const [epoch, value] = curve.points[curve.points.length - 1];
    svg.append(element("circle", { fill: curve.colour, cx: x(epoch), cy: y(value), r: curve.known ? 4 : 2.5 }));
    if (curve.known) labels.push({ x: x(epoch) + 8, y: y(value) + 4, text: curve.known });
  }
  apart(labels).forEach((label) => svg.append(element("text", { x: label.x, y: label.y }, shortened(label.text))));
  svg.setAttribute("aria-label", `Learning curves of ${drawn.length} trials, by epoch.`);
}

function history(study) {
  const svg = at("history");
  if (!study.values.length) return nothing(svg, "No trial is complete yet.");
  const [x, y] = frame(svg, study.values.map((p) => p[0]), study.values.map((p) => p[1]), "trial", study.objective);
  const marked = [...study.curves.filter((curve) => curve.known), ...study.rows.filter((row) => row.colour.toLowerCase() !== GREY)];
  const colours = new Map(marked.map((one) => [one.name.split(",")[0], one.colour]));
  let best = null, path = "";
  for (const [number, value] of study.values) {
    const colour = colours.get(`trial ${number}`);
    svg.append(element("circle", { fill: colour || GREY, cx: x(number), cy: y(value), r: colour ? 6 : 3 }));
    if (best === null || (study.direction === "maximize" ? value > best : value < best)) best = value;
    path += path ? `H${x(number)}V${y(best)}` : `M${x(number)} ${y(best)}`;
  }
  svg.append(element("path", { d: path, class: "line marked", stroke: "#d55e00" }));
  svg.setAttribute("aria-label", `The values of ${study.values.length} trials. The best so far is ${four(best)}.`);
}

function show(found) {
  const options = found.studies.map((name) => {
    const option = document.createElement("option");
    option.value = option.textContent = name;
    return option;
  });
  const study = found.study;
  const names = found.studies.join("\n");
  if (at("studies").dataset.names !== names) {
    at("studies").replaceChildren(...options);
    at("studies").dataset.names = names;
  }
  if (!study) {
    at("progress").textContent = "The database holds no study yet.";
    return;
  }
  at("studies").value = study.name;
  at("title").textContent = document.title = `Study ${study.name}`;
  const counts = Object.entries(study.counts).map(([state, count]) => `${count} ${state}`).join(", ");
  at("progress").textContent = `${study.progress}: ${counts}. Objective: ${study.direction} ${study.objective}. Read at ${new Date().toLocaleTimeString()}.`;
  const best = study.rows[0];
  at("best").textContent = best ? `${best.name}: ${study.race ? four(best.mean) : best.values.map(four).join(", ")}` : "Nothing is complete yet.";
  at("best-params").textContent = best ? Object.entries(best.params).map(([name, value]) => `${name} ${value}`).join(", ") : "";
  points(study);
  table(study);
  curves(study);
  history(study);
}

function away(text) {
  at("away").textContent = text || "";
  at("away").hidden = !text;
}

async function refresh() {
  const asked = chosen;
  try {
    const answer = await fetch(asked === null ? "/study.json" : `/study.json?study=${encodeURIComponent(asked)}`);
    const found = await answer.json();
    if (asked !== chosen) return;
    away(found.away ? `${found.away}. The page shows what it read last, and asks again.` : "");
    if (!found.away) show((last = found));
  } catch {
    away("The server of this page is gone: type mdaf-study serve again.");
  }
}

at("studies").addEventListener("change", () => { chosen = at("studies").value; refresh(); });
addEventListener("resize", () => last && show(last));
setInterval(() => document.hidden || refresh(), EVERY);
refresh();
