// Pictures that tasks have returned.  A browser runs no script of a picture, and loads nothing for it.

const PICTURES_SHOWN = 500;
const PICTURE = /^data:image\/(?:png|jpeg|svg\+xml);base64,[\w+/]+=*$/;

/** A picture with its name, or why it is not shown. */
function pictureOf(picture, caption) {
  const figure = el("figure", "picture");
  if (picture.why) figure.append(el("p", "dim", picture.why));
  else {
    const image = el("img");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = picture.name || "picture";
    image.src = picture.address;
    const button = el("button", "", image);
    button.type = "button";
    button.title = "Look at it larger";
    button.dataset.picture = String(picture.place);
    figure.append(button);
  }
  if (caption) figure.append(el("figcaption", "", caption));
  return figure;
}

/** Those of one task, for its details; nothing if it has none. */
function picturesOf(pictures) {
  if (!pictures) return null;
  return el("section", "pictures", ...pictures.map((picture) => pictureOf(picture, picture.name)));
}

class PicturesView {
  constructor(app) {
    this.app = app;
  }

  mount(host) {
    this.box = el("div", "gallery scrolls");
    this.box.tabIndex = 0;
    this.box.setAttribute("aria-label", "Pictures");
    host.append(this.box);
    this.refresh();
  }

  refresh() {
    if (!this.box) return;
    const { model } = this.app;
    const query = this.app.query ? parseQuery(this.app.query) : null;
    const some = model.pictures.filter(({ task }) => !query || (task && found(task, query)));
    const made = el("div", "", ...some.slice(0, PICTURES_SHOWN).map((picture) => {
      const { task, name } = picture;
      const inside = task?.parent && `in ${task.parent.path}`;
      const said = [name, inside].filter(Boolean).join("  ·  ");
      return pictureOf(picture, el("span", "", task && taskLink(task), el("span", "dim", ` ${said}`)));
    }));
    if (!some.length) made.append(el("p", "empty", model.pictures.length ? "No task that is found has returned a picture." : "No task has returned a picture."));
    if (some.length > PICTURES_SHOWN) {
      made.append(el("p", "empty", `and ${count(some.length - PICTURES_SHOWN)} more, which a search finds`));
    }
    morph(this.box, made);
  }

  key(event) {
    return scrolled(this.box, event);
  }
}

/** Show one picture as large as it goes. */
function enlarge(model, place) {
  const picture = model.pictures[place];
  const image = el("img");
  image.alt = picture.name || "picture";
  image.src = picture.address;
  const close = el("button", "", "Close");
  close.type = "button";
  const said = [picture.task?.path, picture.name].filter(Boolean).join("  ·  ");
  showDialog("picture-shown", el("div", "dialoghead", el("p", "", said), close), image);
}

/** Say so where a picture turns out to be none: a picture that is broken helps nobody. */
function watchPictures(app) {
  document.addEventListener("error", ({ target }) => {
    const button = target.tagName === "IMG" && target.closest("[data-picture]");
    if (!button) return;
    app.model.pictures[Number(button.dataset.picture)].why = "This picture cannot be shown: it is damaged.";
    app.draw();
  }, true);
}
