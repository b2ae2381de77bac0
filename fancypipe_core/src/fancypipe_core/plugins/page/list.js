// A list of any length, of which only the rows that are seen are elements.

class VirtualList {
  /**
   * host: the element that scrolls; height: of a row, in pixels; make(): a row's element;
   * draw(row, index): fill it.
   */
  constructor(host, height, make, draw) {
    this.host = host;
    this.height = height;
    this.make = make;
    this.draw = draw;
    this.length = 0;
    this.rows = [];
    this.space = el("div", "space");
    host.classList.add("scrolls");
    host.append(this.space);
    let asked = false;
    const later = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        this.show();
      });
    };
    host.addEventListener("scroll", later, { passive: true });
    this.observer = new ResizeObserver(later);
    this.observer.observe(host);
  }

  setLength(length) {
    this.length = length;
    this.space.style.height = `${length * this.height}px`;
    this.show();
  }

  show() {
    const seen = Math.ceil(this.host.clientHeight / this.height) + 2;
    const most = Math.max(0, this.length - seen);
    const first = Math.min(Math.floor(this.host.scrollTop / this.height), most);
    const rows = Math.min(seen, this.length);
    while (this.rows.length < rows) {
      const row = this.make();
      row.classList.add("row");
      row.style.height = `${this.height}px`;
      this.rows.push(row);
      this.space.append(row);
    }
    this.rows.forEach((row, place) => {
      row.hidden = place >= rows;
      if (row.hidden) return;
      const index = first + place;
      row.style.transform = `translateY(${index * this.height}px)`;
      row.dataset.index = String(index);
      this.draw(row, index);
    });
  }

  /** Scroll as little as is needed for a row to be seen. */
  reveal(index) {
    const top = index * this.height;
    const below = top + this.height - this.host.clientHeight;
    if (this.host.scrollTop > top) this.host.scrollTop = top;
    else if (this.host.scrollTop < below) this.host.scrollTop = below;
    this.show();
  }

  get atEnd() {
    return this.host.scrollTop + this.host.clientHeight >= this.space.offsetHeight - this.height;
  }
}
