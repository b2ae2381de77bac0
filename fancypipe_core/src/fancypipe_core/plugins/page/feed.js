// Where the journal's lines come from: this file, or, while the run goes on, files beside it.

const POLL = 1000; // milliseconds
const AGAIN = 10000; // milliseconds between two times that a page reads itself
const breath = () => new Promise((resolve) => setTimeout(resolve));

/** The bytes that a text in base64 stands for. */
function decoded(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const chars = atob(text);
  const data = new Uint8Array(chars.length);
  for (let place = 0; place < chars.length; place += 1) data[place] = chars.charCodeAt(place);
  return data;
}

/** The lines in a piece, which is compressed and written in base64. */
function unpacked(piece) {
  const stream = new Blob([decoded(piece)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** Read what stands in this file. */
async function readInlined(model, shown) {
  const summary = document.querySelector("script.summary");
  if (summary) model.summary = (await unpacked(summary.textContent.trim())).split("\n");
  for (const piece of document.querySelectorAll("script.journal")) {
    const packed = piece.textContent.trim();
    piece.remove();
    model.add(await unpacked(packed));
    shown();
    await breath(); // the page stays useful meanwhile
  }
}

/**
 * Follow a run: `tail.js` is read again and again.  It calls `fancypipeTail` with how many pieces
 * are whole, when it was written, and the lines since; a whole piece, which is packed as those in a
 * finished page are, calls `fancypipePiece`.
 * Nothing but a script can be read from a page that was opened from disk.
 * Resolves when the run is over.
 */
function follow(model, folder, shown) {
  let pieces = 0; // that were read whole
  let chars = 0; // that were read of the next
  let queries = 0;
  let arrived = null;
  globalThis.fancypipePiece = (packed) => {
    arrived = { packed };
  };
  globalThis.fancypipeTail = (whole, at, text) => {
    arrived = { whole, at, text };
  };

  function load(name) {
    return new Promise((resolve) => {
      const script = el("script");
      const over = () => {
        script.remove();
        const found = arrived;
        arrived = null;
        resolve(found);
      };
      script.onload = script.onerror = over;
      queries += 1;
      script.src = `${folder}/${name}.js?${Date.now()}.${queries}`;
      document.head.append(script);
    });
  }

  function take(text) {
    if (text.length > chars) model.add(text.slice(chars));
    chars = Math.max(chars, text.length);
  }

  async function step() {
    const tail = await load("tail");
    if (!tail) return false;
    while (pieces < tail.whole) {
      const piece = await load(String(pieces).padStart(5, "0"));
      if (!piece) return false;
      take(await unpacked(piece.packed));
      pieces += 1;
      chars = 0;
      shown();
    }
    take(tail.text);
    // By our own clock: that of the machine where the run is may be another.
    if (tail.at !== model.beat) model.heard = performance.now();
    model.beat = tail.at;
    shown();
    return true;
  }

  return new Promise((resolve) => {
    async function poll() {
      model.isGone = !(await step());
      if (model.over) resolve();
      else if (!model.isGone || !readAgain()) setTimeout(poll, POLL);
    }
    poll();
  });
}

/**
 * What was beside this file is gone: it was put into it when the run was over.  Tells whether the
 * page reads itself again; not if it has just done so, as where a disk is away for a while.
 */
function readAgain() {
  const key = `fancypipe-again:${location.pathname}`;
  try {
    if (Math.abs(Date.now() - Number(sessionStorage.getItem(key) ?? 0)) < AGAIN) return false;
    sessionStorage.setItem(key, String(Date.now()));
  } catch {
    return false; // a browser that keeps nothing would read it for ever
  }
  location.reload();
  return true;
}
