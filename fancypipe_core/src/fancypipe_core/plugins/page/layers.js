// A layered drawing of a graph: each node right of what feeds it, few crossings.

/** Leave out edges that lead back, so that no circle is left; returns those that lead on. */
function withoutCircles(nodes, edges) {
  const out = new Map(nodes.map((node) => [node, []]));
  for (const edge of edges) if (edge.from !== edge.to) out.get(edge.from).push(edge);
  const seen = new Map(); // 1: on the way, 2: finished
  const onward = [];
  for (const start of nodes) {
    if (seen.has(start)) continue;
    seen.set(start, 1);
    const stack = [[start, 0]];
    while (stack.length) {
      const top = stack[stack.length - 1];
      const edge = out.get(top[0])[top[1]];
      top[1] += 1;
      if (!edge) {
        seen.set(top[0], 2);
        stack.pop();
      } else if (seen.get(edge.to) !== 1) {
        onward.push(edge);
        if (!seen.has(edge.to)) {
          seen.set(edge.to, 1);
          stack.push([edge.to, 0]);
        }
      }
    }
  }
  return onward;
}

/** The longest way to each node, by edges without circles. */
function layerOf(nodes, edges) {
  const layer = new Map(nodes.map((node) => [node, 0]));
  const into = new Map(nodes.map((node) => [node, 0]));
  for (const edge of edges) into.set(edge.to, into.get(edge.to) + 1);
  const ready = nodes.filter((node) => !into.get(node));
  while (ready.length) {
    const node = ready.pop();
    for (const edge of edges) {
      if (edge.from !== node) continue;
      layer.set(edge.to, Math.max(layer.get(edge.to), layer.get(node) + 1));
      into.set(edge.to, into.get(edge.to) - 1);
      if (!into.get(edge.to)) ready.push(edge.to);
    }
  }
  return layer;
}

/**
 * Lay out a graph.  nodes: any objects; edges: {from, to}.
 * Returns {layers: rows of places from left to right, way: edge -> the places it passes}.  A place
 * is {node, layer, order}, with node null where only an edge passes.
 */
function layered(nodes, edges) {
  const onward = withoutCircles(nodes, edges);
  const layer = layerOf(nodes, onward);
  const layers = [];
  const placeOf = new Map();
  const put = (node, number) => {
    const place = { node, layer: number, order: 0, near: [] };
    (layers[number] ??= []).push(place);
    return place;
  };
  for (const node of nodes) placeOf.set(node, put(node, layer.get(node)));
  const way = new Map();
  for (const edge of onward) {
    const passed = [placeOf.get(edge.from)];
    for (let number = layer.get(edge.from) + 1; number < layer.get(edge.to); number += 1) {
      passed.push(put(null, number));
    }
    passed.push(placeOf.get(edge.to));
    passed.slice(1).forEach((place, index) => {
      place.near.push(passed[index]);
      passed[index].near.push(place);
    });
    way.set(edge, passed);
  }
  for (const edge of edges) {
    if (!way.has(edge)) way.set(edge, [placeOf.get(edge.from), placeOf.get(edge.to)]);
  }
  for (let number = 0; number < layers.length; number += 1) layers[number] ??= [];
  arrange(layers);
  return { layers, way };
}

/** Order each layer by where the neighbours are, forth and back a few times. */
function arrange(layers) {
  for (const row of layers) row.forEach((place, order) => (place.order = order));
  for (let sweep = 0; sweep < 8; sweep += 1) {
    const forth = sweep % 2 === 0;
    const rows = forth ? layers : [...layers].reverse();
    for (const row of rows) {
      const middle = new Map();
      for (const place of row) {
        const side = place.near.filter((one) => (forth ? one.layer < place.layer : one.layer > place.layer));
        const sum = side.reduce((total, one) => total + one.order, 0);
        middle.set(place, side.length ? sum / side.length : place.order);
      }
      row.sort((one, other) => middle.get(one) - middle.get(other));
      row.forEach((place, order) => (place.order = order));
    }
  }
}
