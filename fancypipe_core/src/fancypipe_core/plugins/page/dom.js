// Elements, and how numbers are said.  What comes from a run is only ever set as text.

const $ = (id) => document.getElementById(id);

/** Make an element; text is text, children are elements, texts, or nothing. */
function el(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const child of children) if (child !== null && child !== undefined) made.append(child);
  return made;
}

/** Set a text only where it changes: most rows of a list stay as they are. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en");

function count(number) {
  return whole.format(number);
}

/** Seconds as people say them: 3.2 ms, 14.1 s, 3 min 20 s, 2 h 05 min. */
function duration(seconds) {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return "";
  const size = Math.abs(seconds);
  if (size < 0.0005) return seconds ? `${(seconds * 1e6).toFixed(0)} µs` : "0 s";
  if (size < 0.1) return `${(seconds * 1e3).toFixed(size < 0.01 ? 1 : 0)} ms`;
  if (size < 10) return `${seconds.toFixed(2)} s`;
  if (size < 100) return `${seconds.toFixed(1)} s`;
  const left = Math.round(seconds);
  if (left < 3600) return `${Math.floor(left / 60)} min ${String(left % 60).padStart(2, "0")} s`;
  const minutes = Math.round(left / 60);
  if (minutes < 48 * 60) {
    return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  }
  return `${(minutes / 1440).toFixed(1)} days`;
}

function bytes(number) {
  if (!number) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit && number < 10 ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

function rate(perSecond) {
  if (perSecond >= 1) return `${count(Number(perSecond.toPrecision(3)))} tasks/s`;
  return `${Number((perSecond * 60).toPrecision(2))} tasks/min`;
}

/** The wall clock, as the reader's machine has it. */
function clock(at, withDate = false) {
  const date = new Date(at * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":");
  if (!withDate) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/**
 * The color of the kind with this place: hues far from each other for those that follow, other
 * shades where hues come near to earlier ones, and never the red of what failed.
 */
function colorOf(place, isDark) {
  const hue = 20 + ((212 + place * 137.508) % 360) * (320 / 360);
  const [vivid, light] = [[45, 42], [45, 60], [45, 28], [75, 50], [22, 48]][Math.floor(place / 8) % 5];
  return `hsl(${hue} ${vivid}% ${light + (isDark ? 4 : 0)}%)`;
}

/** A color of the theme that is in force. */
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** Fit a canvas to its box; returns its context, scaled to CSS pixels. */
function fitted(canvas, width, height) {
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  return context;
}
