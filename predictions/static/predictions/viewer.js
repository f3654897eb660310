// @ts-check
/**
 * The pictures of a result as one picture with layers, which can be zoomed and moved.
 * Panes of one viewer share one view, so two results move together.
 */

const MOST = 8;
const STEP = 1.25;
const PAN = 0.1;
/** How much of a pane's side the affected area takes when it is zoomed to. */
const ROOM = 0.6;

/** @typedef {{x: number, y: number, width: number, height: number}} Part */

/**
 * What is shown: zoom, place and layers. `x` and `y` are where the picture's corner lies, as
 * shares of the pane's width and height, so that panes of different sizes agree.
 */
class View extends EventTarget {
  scale = 1;
  x = 0;
  y = 0;
  strength = 0.4;
  /** Whether the marks are hidden for a look at the bare picture. */
  bare = false;
  /** @type {Set<string>} */
  layers = new Set();

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @param {number} factor
   * @param {number} atX share of the pane's width that stays where it is
   * @param {number} atY share of its height
   */
  zoom(factor, atX = 0.5, atY = 0.5) {
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    const real = scale / this.scale;
    this.x = atX - (atX - this.x) * real;
    this.y = atY - (atY - this.y) * real;
    this.scale = scale;
    this.pan(0, 0);
  }

  /**
   * @param {number} x share of the pane's width
   * @param {number} y share of its height
   */
  pan(x, y) {
    this.x = Math.min(0, Math.max(1 - this.scale, this.x + x));
    this.y = Math.min(0, Math.max(1 - this.scale, this.y + y));
    this.changed();
  }

  fit() {
    this.scale = 1;
    this.pan(0, 0);
  }

  /**
   * Bring a part of the pane, as shares of its sides, into the middle, with room around it.
   * @param {Part} part
   */
  show(part) {
    this.scale = Math.min(MOST, Math.max(1, ROOM / Math.max(part.width, part.height)));
    this.x = 0.5 - this.scale * part.x;
    this.y = 0.5 - this.scale * part.y;
    this.pan(0, 0);
  }

  /**
   * Zoom where the part is, as long as it can be seen; else where the middle of the pane is.
   * @param {number} factor
   * @param {Part | null} part
   */
  zoomAt(factor, part) {
    const x = part ? this.x + this.scale * part.x : -1;
    const y = part ? this.y + this.scale * part.y : -1;
    if (x >= 0 && x <= 1 && y >= 0 && y <= 1) this.zoom(factor, x, y);
    else this.zoom(factor);
  }
}

/**
 * Where the affected area lies in a pane whose picture is not zoomed: its middle and its size, as
 * shares of the pane's sides. Null without one.
 * @param {Element | null | undefined} film
 * @returns {Part | null}
 */
function areaIn(film) {
  const pane = /** @type {HTMLElement | null | undefined} */ (film?.closest("[data-pane]"));
  const marked = /** @type {HTMLElement | null | undefined} */ (
    pane?.parentElement?.querySelector(`[data-area][data-of="${pane.dataset.of}"]`)
  );
  const image = /** @type {HTMLElement | null | undefined} */ (film?.querySelector(".stack > img"));
  if (!marked || !image || !film?.clientWidth) return null;
  const [left, top, width, height] = (marked.dataset.area ?? "").split(" ").map(Number);
  const [across, down] = (marked.dataset.size ?? "").split(" ").map(Number);
  // The picture is fitted into its element, and is mostly smaller than that on two sides.
  const scale = Math.min(image.offsetWidth / across, image.offsetHeight / down);
  const x = (image.offsetWidth - scale * across) / 2 + scale * (left + width / 2);
  const y = (image.offsetHeight - scale * down) / 2 + scale * (top + height / 2);
  return {
    x: (image.offsetLeft + x) / film.clientWidth,
    y: (image.offsetTop + y) / film.clientHeight,
    width: (scale * width) / film.clientWidth,
    height: (scale * height) / film.clientHeight,
  };
}

/**
 * Lay a drawing out as large as it is seen, so that its lines, which have the same width at any
 * size, keep theirs; what enlarges it with the picture is undone.
 * @param {HTMLElement} layer
 * @param {number} scale
 */
function keepThin(layer, scale) {
  const picture = layer.parentElement?.querySelector("img");
  layer.toggleAttribute("data-large", scale > 1);
  layer.style.width = picture && scale > 1 ? `${scale * picture.clientWidth}px` : "";
  layer.style.height = picture && scale > 1 ? `${scale * picture.clientHeight}px` : "";
  layer.style.transform = scale > 1 ? `scale(${1 / scale})` : "";
}

/**
 * Draw the view into one pane.
 * @param {HTMLElement} film
 * @param {View} view
 */
function draw(film, view) {
  const stack = /** @type {HTMLElement} */ (film.querySelector(".stack"));
  const x = view.x * film.clientWidth;
  const y = view.y * film.clientHeight;
  stack.style.transform = view.scale === 1 ? "" : `translate(${x}px, ${y}px) scale(${view.scale})`;
  film.toggleAttribute("data-zoomed", view.scale > 1);
  for (const layer of /** @type {NodeListOf<HTMLElement>} */ (
    stack.querySelectorAll("[data-layer]")
  )) {
    const name = layer.dataset.layer ?? "";
    layer.toggleAttribute("hidden", view.bare || !view.layers.has(name));
    // A line needs more strength than a surface to be seen as well.
    const thin = name === "outline" || name === "contours" || name === "box";
    if (thin) keepThin(layer, view.scale);
    layer.style.opacity = String(thin ? Math.min(1, 2 * view.strength) : view.strength);
  }
}

/**
 * @param {KeyboardEvent} event
 * @param {View} view
 * @param {HTMLElement} film
 */
function onKey(event, view, film) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  /** @type {Record<string, () => void>} */
  const moves = {
    "+": () => view.zoomAt(STEP, areaIn(film)),
    "=": () => view.zoomAt(STEP, areaIn(film)),
    "-": () => view.zoomAt(1 / STEP, areaIn(film)),
    _: () => view.zoomAt(1 / STEP, areaIn(film)),
    0: () => view.fit(),
  };
  // At full size there is nothing to move, and the arrows scroll the page.
  if (view.scale > 1) {
    moves.ArrowLeft = () => view.pan(PAN, 0);
    moves.ArrowRight = () => view.pan(-PAN, 0);
    moves.ArrowUp = () => view.pan(0, PAN);
    moves.ArrowDown = () => view.pan(0, -PAN);
  }
  const move = moves[event.key];
  if (move) {
    event.preventDefault();
    move();
  }
}

/**
 * Drag with one pointer, pinch with two.
 * @param {HTMLElement} film
 * @param {View} view
 */
function followPointers(film, view) {
  /** @type {Map<number, {x: number, y: number}>} */
  const held = new Map();
  const spread = () => {
    const [a, b] = [...held.values()];
    return { distance: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };

  film.addEventListener("pointerdown", (event) => {
    held.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (view.scale > 1 || held.size > 1) {
      film.setPointerCapture(event.pointerId);
      film.toggleAttribute("data-dragging", true);
    }
  });
  film.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const box = film.getBoundingClientRect();
    if (held.size === 2) {
      const from = spread();
      held.set(event.pointerId, now);
      const to = spread();
      view.zoom(
        to.distance / Math.max(1, from.distance),
        (to.x - box.left) / box.width,
        (to.y - box.top) / box.height,
      );
      view.pan((to.x - from.x) / box.width, (to.y - from.y) / box.height);
    } else if (view.scale > 1) {
      held.set(event.pointerId, now);
      view.pan((now.x - before.x) / box.width, (now.y - before.y) / box.height);
    }
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture"]) {
    film.addEventListener(name, (event) => {
      held.delete(/** @type {PointerEvent} */ (event).pointerId);
      film.toggleAttribute("data-dragging", held.size > 0 && view.scale > 1);
    });
  }
}

/**
 * @param {HTMLElement} film
 * @param {View} view
 */
function listen(film, view) {
  film.tabIndex = 0;
  film.setAttribute("role", "group");
  film.setAttribute("aria-label", "Picture, zoomable");
  film.setAttribute("aria-describedby", "viewer-keys");
  for (const image of film.querySelectorAll("img")) image.draggable = false;
  /** @type {(event: MouseEvent) => [number, number]} */
  const at = (event) => {
    const box = film.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };

  film.addEventListener("keydown", (event) => onKey(event, view, film));
  film.addEventListener("dblclick", (event) => {
    if (view.scale > 1) view.fit();
    else view.zoom(2.5, ...at(event));
  });
  film.addEventListener(
    "wheel",
    (event) => {
      // A bare wheel scrolls the page, unless the picture has been taken hold of.
      if (!event.ctrlKey && document.activeElement !== film) return;
      event.preventDefault();
      view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), ...at(event));
    },
    { passive: false },
  );
  followPointers(film, view);
  view.addEventListener("change", () => draw(film, view));
  new ResizeObserver(() => draw(film, view)).observe(film);
}

/**
 * @param {HTMLElement} viewer
 * @param {HTMLElement} panes
 * @param {View} view
 */
function bindControls(viewer, panes, view) {
  const controls = /** @type {HTMLFieldSetElement} */ (viewer.querySelector("[data-controls]"));
  for (const box of /** @type {NodeListOf<HTMLInputElement>} */ (
    controls.querySelectorAll("[data-toggle]")
  )) {
    const name = box.dataset.toggle ?? "";
    const apply = () => (box.checked ? view.layers.add(name) : view.layers.delete(name));
    apply();
    box.addEventListener("change", () => {
      apply();
      // Whoever asks for a layer wants to see it.
      view.bare = false;
      view.changed();
    });
  }

  const slider = /** @type {HTMLInputElement} */ (controls.querySelector("[data-strength]"));
  const strength = /** @type {HTMLOutputElement} */ (
    controls.querySelector("[data-strength-value]")
  );
  const slide = () => {
    view.strength = slider.valueAsNumber / 100;
    strength.value = `${slider.value}%`;
    view.changed();
  };
  slider.addEventListener("input", slide);

  const hide = /** @type {HTMLElement} */ (controls.querySelector("[data-bare]"));
  const bare = () => {
    view.bare = !view.bare;
    view.changed();
  };
  viewer.addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "h" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    bare();
  });

  const level = /** @type {HTMLOutputElement} */ (controls.querySelector("[data-zoom-value]"));
  view.addEventListener("change", () => {
    level.value = `${Math.round(100 * view.scale)}%`;
    hide.setAttribute("aria-pressed", String(view.bare));
  });
  controls.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement} */ (event.target).closest("button");
    if (!button) return;
    const part = areaIn(
      viewer.querySelector("[data-area] .film") ?? viewer.querySelector(".film"),
    );
    if (button.dataset.zoom === "in") view.zoomAt(STEP, part);
    else if (button.dataset.zoom === "out") view.zoomAt(1 / STEP, part);
    else if (button.dataset.zoom === "fit") view.fit();
    else if (button.dataset.zoom === "area" && part) view.show(part);
    else if ("bare" in button.dataset) bare();
    else if ("beside" in button.dataset) {
      const on = panes.toggleAttribute("data-beside");
      button.setAttribute("aria-pressed", String(on));
      view.changed();
    } else if ("fullscreen" in button.dataset) {
      if (document.fullscreenElement) document.exitFullscreen();
      else viewer.requestFullscreen();
    }
  });
  if (!viewer.querySelector("[data-area]")) controls.querySelector('[data-zoom="area"]')?.remove();
  const whole = /** @type {HTMLElement} */ (controls.querySelector("[data-fullscreen]"));
  if (!document.fullscreenEnabled) whole.remove();
  document.addEventListener("fullscreenchange", () => {
    whole.textContent = document.fullscreenElement === viewer ? "Leave full screen" : "Full screen";
  });
  controls.disabled = false;
  slide();
}

/** @param {HTMLElement} viewer */
function start(viewer) {
  const view = new View();
  const panes = /** @type {HTMLElement} */ (viewer.querySelector("[data-panes]"));
  for (const overlay of panes.querySelectorAll('[data-pane="overlay"]')) {
    const id = /** @type {HTMLElement} */ (overlay).dataset.of;
    const attention = panes.querySelector(
      `[data-pane="attention"][data-of="${id}"] [data-layer="attention"]`,
    );
    // Under the area, so that both can be seen at once. The attention's own pane is for paper.
    if (attention) overlay.querySelector(".stack > img")?.after(attention.cloneNode());
  }
  for (const film of /** @type {NodeListOf<HTMLElement>} */ (
    panes.querySelectorAll('[data-pane]:not([data-pane="attention"]) .film')
  )) {
    listen(film, view);
  }
  bindControls(viewer, panes, view);
}

for (const viewer of /** @type {NodeListOf<HTMLElement>} */ (
  document.querySelectorAll("[data-viewer]")
)) {
  start(viewer);
}
