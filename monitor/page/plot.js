// Line plots over the last minutes, as SVG.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 52, right: 12, top: 10, bottom: 22 };

function svg(name, attributes, content) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (content !== undefined) element.textContent = content;
  return element;
}

// The smallest of 1, 2, 5, 10, 20, ... that is not below `value`.
function roundedUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= value);
}

// A scale from 0 to a round number. `position` maps a value to 0 to 1.
function linear(most) {
  const top = roundedUp(Math.max(most, 10));
  return { ticks: [0, top / 2, top], position: (value) => value / top };
}

// A scale of powers of 10, for times that differ by far.
function logarithmic(least, most) {
  const low = Math.floor(Math.log10(Math.max(least, 1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(most, 1))));
  const ticks = [];
  for (let power = low; power <= high; power += Math.ceil((high - low) / 4)) ticks.push(10 ** power);
  return { ticks, position: (value) => (Math.log10(Math.max(value, 1)) - low) / (high - low) };
}

// Draws lines of { name, points: [{ age, value }] }; a value of null is a gap. `span` is the time
// from the left edge to the right in seconds, `label` the description for screen readers.
function plot(box, lines, scale, span, label, format) {
  const width = box.clientWidth;
  const height = box.clientHeight;
  if (width === 0 || height === 0) return;
  const inner = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const x = (age) => MARGIN.left + inner.width * (1 - age / span);
  const y = (value) => MARGIN.top + inner.height * (1 - scale.position(value));
  const image = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  for (const tick of scale.ticks) {
    const [left, right] = [MARGIN.left, width - MARGIN.right];
    image.append(svg("line", { class: "grid", x1: left, x2: right, y1: y(tick), y2: y(tick) }));
    image.append(svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, format(tick)));
  }
  for (const age of [span, span / 2, 0]) {
    const anchor = { [span]: "start", 0: "end" }[age] ?? "middle";
    const name = age === 0 ? text.now : `−${duration(age)}`;
    image.append(svg("text", { x: x(age), y: height - 4, "text-anchor": anchor }, name));
  }
  for (const { name, points, filled } of lines) {
    for (const run of runs(points.filter((point) => point.age <= span))) {
      const steps = run.map(({ age, value }) => `${x(age).toFixed(1)},${y(value).toFixed(1)}`).join("L");
      const [from, to] = [x(run[0].age).toFixed(1), x(run.at(-1).age).toFixed(1)];
      if (filled) image.append(svg("path", { class: "area", d: `M${from},${y(0)}L${steps}L${to},${y(0)}Z` }));
      image.append(svg("path", { class: name, d: `M${steps}` }));
    }
  }
  box.replaceChildren(image);
}

// Splits points at the gaps.
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point.value === null) found.push([]); else found.at(-1).push(point);
  }
  return found.filter((run) => run.length > 0);
}
