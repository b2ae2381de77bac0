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

/**
 * Make what is in an element like what is in another one.  Nodes that are the same stay, and with
 * them the focus, what is selected and how far it is scrolled; so they must have no listeners.
 */
function morph(there, made) {
  const old = [...there.childNodes];
  const wanted = [...made.childNodes];
  wanted.forEach((node, place) => {
    const before = old[place];
    if (!before) there.append(node);
    else if (before.isEqualNode(node)) return;
    else if (before.nodeName !== node.nodeName) before.replaceWith(node);
    else if (before.nodeType === Node.TEXT_NODE) before.data = node.data;
    else {
      for (const { name } of [...before.attributes]) if (!node.hasAttribute(name)) before.removeAttribute(name);
      for (const { name, value } of node.attributes) if (before.getAttribute(name) !== value) before.setAttribute(name, value);
      morph(before, node);
    }
  });
  for (const node of old.slice(wanted.length)) node.remove();
}

/** Let a key scroll a box; tells whether it did. */
function scrolled(box, event) {
  const page = Math.max(40, box.clientHeight - 40);
  const step = { ArrowDown: 40, ArrowUp: -40, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
  if (step === Infinity || step === -Infinity) box.scrollTop = step > 0 ? box.scrollHeight : 0;
  else if (step) box.scrollTop += step;
  return Boolean(step);
}

/** Show a dialog with these elements; Esc and its buttons close it. */
function showDialog(className, ...parts) {
  const box = $("dialog");
  box.className = className;
  box.replaceChildren(...parts);
  if (!box.open) box.showModal();
}

/** Put a text into the clipboard; resolves to whether that could be. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // a browser may forbid it
  }
}

/** A word as a shell wants it. */
function quoted(word) {
  return /^[\w./@%+=:,-]+$/.test(word) ? word : `'${String(word).replaceAll("'", "'\\''")}'`;
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
  return `hsl(${colorParts(place, isDark).join(" ").replace(/ ([\d.]+)/g, " $1%")})`;
}

function colorParts(place, isDark) {
  const at = Math.abs(place);
  const hue = 20 + ((212 + at * 137.508) % 360) * (320 / 360);
  const [vivid, light] = [[45, 42], [45, 60], [45, 28], [75, 50], [22, 48]][Math.floor(at / 8) % 5];
  return [hue, vivid, light + (isDark ? 4 : 0)];
}

/** Black or white, whichever is told better from the color of a kind. */
function inkOn(place, isDark) {
  const [hue, vivid, light] = colorParts(place, isDark);
  const most = (vivid / 100) * Math.min(light / 100, 1 - light / 100);
  // The parts of red, green and blue, and how bright an eye takes them for.
  const bright = [0, 8, 4].reduce((sum, shift, at) => {
    const turn = (shift + hue / 30) % 12;
    const part = light / 100 - most * Math.max(-1, Math.min(turn - 3, 9 - turn, 1));
    return sum + [0.2126, 0.7152, 0.0722][at] * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
  return bright > 0.179 ? "#000" : "#fff";
}

/** A text cut so that it is no wider than so many pixels in a font. */
function cutTo(text, font, width) {
  const context = (cutTo.context ??= document.createElement("canvas").getContext("2d"));
  context.font = font;
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, Math.min(text.length, 200)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return `${text.slice(0, low)}…`;
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
