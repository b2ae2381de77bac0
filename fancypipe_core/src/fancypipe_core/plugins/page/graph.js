// The graph folded by name: which kind of task feeds which.

const BOX = { width: 172, height: 58, gapX: 54, gapY: 18, thin: 10 };
const MOST_KINDS = 80;
const FONT = '13px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';
const SMALL = FONT.replace("13", "11");
const LABEL = 11; // pixels that two numbers need above each other
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Kinds and edges between them, with how many values went along each. */
function foldedGraph(model) {
  const kinds = [...model.kinds.values()];
  const most = kinds.sort((one, other) => other.seconds - one.seconds || other.tasks.length - one.tasks.length);
  const shown = new Set(most.slice(0, MOST_KINDS));
  const edges = new Map();
  for (const task of model.order) {
    if (!task.needs || !shown.has(task.kind)) continue;
    for (const number of task.needs) {
      const from = model.task(number).kind;
      if (!shown.has(from)) continue;
      const key = `${from.place} ${task.kind.place}`;
      const edge = edges.get(key);
      if (edge) edge.times += 1;
      else edges.set(key, { from, to: task.kind, times: 1 });
    }
  }
  const nodes = [...shown].sort((one, other) => one.place - other.place);
  return { nodes, edges: [...edges.values()], left: kinds.length - shown.size };
}

/** Where each edge that leads on arrives: below each other, in the order of where they come from. */
function portsOf(way) {
  const arriving = new Map();
  for (const [edge, places] of way) {
    const to = places[places.length - 1];
    if (to.layer <= places[0].layer) continue;
    if (!arriving.has(to)) arriving.set(to, []);
    arriving.get(to).push([edge, places[places.length - 2]]);
  }
  const ports = new Map();
  for (const [to, edges] of arriving) {
    edges.sort((one, other) => one[1].y - other[1].y);
    const room = to.height / (edges.length + 1);
    edges.forEach(([edge], place) => ports.set(edge, { y: to.y + (place + 1) * room, room }));
  }
  return ports;
}

class GraphView {
  constructor(app) {
    this.app = app;
  }

  mount(host) {
    this.caption = el("p", "hint");
    this.box = el("div", "graphbox scrolls");
    this.box.tabIndex = 0;
    this.box.setAttribute("aria-label", "The graph, folded by name");
    host.append(this.box, this.caption);
    this.refresh();
  }

  key(event) {
    const step = { ArrowLeft: -40, ArrowRight: 40 }[event.key];
    if (step) this.box.scrollLeft += step;
    return Boolean(step) || scrolled(this.box, event);
  }

  refresh() {
    if (!this.box) return;
    const graph = foldedGraph(this.app.model);
    const { layers, way } = layered(graph.nodes, graph.edges);
    const more = graph.left ? ` ${count(graph.left)} kinds that took least are left out.` : "";
    setText(
      this.caption,
      `Each box is a kind of task; an arrow leads from what gives values to what takes them, with how many.${more}`,
    );
    const heights = layers.map((row) =>
      row.reduce((sum, place) => sum + (place.node ? BOX.height : BOX.thin) + BOX.gapY, -BOX.gapY));
    const height = Math.max(BOX.height, ...heights);
    layers.forEach((row, number) => {
      let top = 12 + (height - heights[number]) / 2;
      for (const place of row) {
        place.x = 12 + number * (BOX.width + BOX.gapX);
        place.height = place.node ? BOX.height : BOX.thin;
        place.y = top;
        top += place.height + BOX.gapY;
      }
    });
    const width = 24 + Math.max(1, layers.length) * (BOX.width + BOX.gapX) - BOX.gapX;
    const arrow = svg("marker", {
      id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse",
      orient: "auto", class: "arrow",
    }, svg("path", { d: "M0 0 L8 4 L0 8 z" }));
    const picture = svg("svg", { width, height: height + 40 }, svg("defs", {}, arrow));
    const ports = portsOf(way);
    for (const [edge, places] of way) picture.append(this.edge(edge, places, ports.get(edge)));
    for (const row of layers) {
      for (const place of row) if (place.node) picture.append(this.node(place));
    }
    morph(this.box, el("div", "", picture));
  }

  edge(edge, places, port) {
    const middle = (place) => place.y + place.height / 2;
    const from = places[0];
    const to = places[places.length - 1];
    const group = svg("g", { class: "edge" });
    const said = `${edge.from.name} feeds ${edge.to.name}: ${count(edge.times)}`;
    let path = "";
    let label = [0, 0];
    if (to.layer <= from.layer) {
      // It leads back, or to itself: recursion.
      const low = Math.max(from.y + from.height, to.y + to.height) + 14;
      const right = from.x + BOX.width;
      path = `M${right} ${middle(from)} C${right + 34} ${middle(from)} ${right + 34} ${low} ${right - 20} ${low} ` +
        `L${to.x + 20} ${low} C${to.x - 34} ${low} ${to.x - 34} ${middle(to)} ${to.x - 2} ${middle(to)}`;
      label = [(right + to.x) / 2, low - 4];
    } else {
      path = `M${from.x + BOX.width} ${middle(from)}`;
      places.slice(1).forEach((place, index) => {
        const before = places[index];
        const x = before.x + BOX.width;
        const half = (place.x - x) / 2;
        const y = place === to ? port.y : middle(place);
        path += ` C${x + half} ${middle(before)} ${x + half} ${y} ${place.x} ${y}`;
        if (!place.node) path += ` L${place.x + BOX.width} ${middle(place)}`;
      });
      label = [to.x - 12, port.y - 3];
    }
    const line = svg("path", { d: path, "marker-end": "url(#arrow)" });
    line.style.strokeWidth = String(1 + Math.min(3, Math.log10(edge.times)));
    group.append(svg("title", {}, said), line);
    const text = svg("text", { x: label[0], y: label[1], "text-anchor": to.layer <= from.layer ? "middle" : "end" });
    text.append(count(edge.times));
    if (to.layer <= from.layer || port.room >= LABEL) group.append(text);
    return group;
  }

  node(place) {
    const { node: kind, x, y } = place;
    const group = svg("g", { class: "kind", tabindex: 0, role: "button" });
    const total = kind.tasks.length;
    const mean = kind.runs ? `, ${duration(kind.seconds / kind.runs)} each` : "";
    group.append(
      svg("title", {}, `${kind.name}: ${Object.entries(kind.counts).filter((one) => one[1]).map(([state, many]) => `${count(many)} ${state}`).join(", ")}`),
      svg("rect", { x, y, width: BOX.width, height: BOX.height, rx: 5, class: kind.counts.failed ? "bad" : "" }),
      this.text(kind.name, x + 10, y + 19, "title", `600 ${FONT}`),
      this.text(`${count(total)} ${total === 1 ? "task" : "tasks"}${mean}`, x + 10, y + 36, "small", SMALL),
    );
    let from = x + 10;
    const wide = BOX.width - 20;
    for (const state of IN_ORDER) {
      if (!kind.counts[state]) continue;
      const part = (wide * kind.counts[state]) / total;
      group.append(svg("rect", { x: from, y: y + 44, width: Math.max(part, 1), height: 6, class: `part ${state}` }));
      from += part;
    }
    group.dataset.find = `name:"${kind.name}"`;
    return group;
  }

  text(said, x, y, className, font) {
    const made = svg("text", { x, y, class: className });
    made.append(cutTo(said, font, BOX.width - 20));
    return made;
  }
}
