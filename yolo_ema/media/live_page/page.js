"use strict";
// One request waits for news; images of visible sources are fetched when there is a newer one, a few at a time. A slow
// connection therefore gets fewer images, never old ones.
const MOST_AT_ONCE = 3, LEAST_PAUSE_MS = 60, RETRY_MS = 1500;
const cards = new Map();
let fetching = 0;

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const put = (node, text) => { if (node.textContent !== text) node.textContent = text; };
const number = (value) => Number(value).toLocaleString("en-GB");

function cardOf(name) {
  if (cards.has(name)) return cards.get(name);
  const node = document.getElementById("source").content.firstElementChild.cloneNode(true);
  const card = { node, find: (what) => node.querySelector(what), shown: 0, busy: false, visible: true, source: null };
  card.find("h2").textContent = name;
  card.find("img").alt = `newest frame of ${name}`;
  card.find(".picture").addEventListener("click", () => { node.classList.toggle("large"); card.shown = 0; });
  new IntersectionObserver((seen) => { card.visible = seen.at(-1).isIntersecting; }, { rootMargin: "200px" }).observe(node);
  new ResizeObserver(() => { if (card.source) showMap(card.find(".map"), card.source); }).observe(card.find("canvas"));
  document.getElementById("sources").append(node);
  cards.set(name, card);
  return card;
}

function figuresOf(source) {
  const figures = [];
  if (source.objects !== undefined) figures.push(["objects", number(source.objects)]);
  if (source.id !== null) figures.push(["frames/s", source.rate.toFixed(1)]);
  if (source.frames_read !== undefined) figures.push(["frames read", number(source.frames_read)]);
  if (source.frames_dropped !== undefined) figures.push(["dropped", number(source.frames_dropped)]);
  if (source.reconnects) figures.push(["reconnects", number(source.reconnects)]);
  if (source.seconds_since_frame > 3) figures.push(["seconds since a frame", number(Math.round(source.seconds_since_frame))]);
  return figures;
}

function fill(parent, rows, make) {
  while (parent.children.length > rows.length) parent.lastElementChild.remove();
  while (parent.children.length < rows.length) parent.append(make());
  return [...parent.children];
}

function element(tag, ...children) {
  const node = document.createElement(tag);
  node.append(...children);
  return node;
}

function show(source, ended) {
  const card = cardOf(source.name);
  // Images of another run on this port, or of a source that was away, are numbered anew.
  if (card.id !== source.id || card.shown > source.sequence) { card.id = source.id; card.shown = 0; }
  card.source = source;
  const state = ended && !["failed"].includes(source.state) ? "ended" : source.state;
  card.node.className = `card ${state}${card.node.classList.contains("large") ? " large" : ""}`;
  put(card.find(".state"), state);
  put(card.find(".none"), state === "failed" ? "no image" : "no image yet");
  card.find(".problem").hidden = !source.problem;
  put(card.find(".problem"), source.problem || "");
  const figures = figuresOf(source);
  fill(card.find(".figures"), figures, () => element("div", element("dt"), element("dd"))).forEach((node, place) => {
    put(node.firstChild, figures[place][0]);
    put(node.lastChild, figures[place][1]);
  });
  const classes = source.classes || [];
  fill(card.find(".classes"), classes, () => element("li", element("i"), element("b"), element("span"))).forEach((node, place) => {
    node.children[0].style.background = classes[place].colour;
    put(node.children[1], number(classes[place].count));
    put(node.children[2], classes[place].name);
  });
  const counts = Object.entries(source.counts || {});
  card.find(".counts").hidden = !counts.length;
  fill(card.find(".counts"), counts, () => element("li", element("span"), element("b"))).forEach((node, place) => {
    put(node.children[0], counts[place][0]);
    put(node.children[1], number(counts[place][1]));
  });
  showMap(card.find(".map"), source);
}

async function fetchPicture(card) {
  card.busy = true;
  fetching += 1;
  try {
    const width = Math.min(1920, Math.round(card.node.clientWidth * Math.min(2, window.devicePixelRatio || 1)));
    const answer = await fetch(`/pictures/${card.source.id}.jpg?width=${width}`);
    if (!answer.ok) return;
    const image = card.find("img"), before = image.src, address = URL.createObjectURL(await answer.blob());
    image.src = address;
    card.shown = Number(answer.headers.get("X-Sequence"));
    await image.decode().catch(() => {});
    if (before) URL.revokeObjectURL(before);
  } catch {
    // The next news will tell whether the run is still there.
  } finally {
    card.busy = false;
    fetching -= 1;
    fetchPictures();
  }
}

function fetchPictures() {
  const wanting = [...cards.values()].filter((one) => one.visible && !one.busy && one.source.id !== null && one.shown < one.source.sequence);
  wanting.sort((one, other) => one.shown / one.source.sequence - other.shown / other.source.sequence);
  for (const card of wanting.slice(0, MOST_AT_ONCE - fetching)) fetchPicture(card);
}

function summarise(state) {
  const sources = state.sources, live = sources.filter((one) => one.state === "live").length;
  const objects = sources.reduce((sum, one) => sum + (one.objects || 0), 0), rate = sources.reduce((sum, one) => sum + one.rate, 0);
  const parts = [sources.length === 1 ? "1 source" : `${live} of ${sources.length} sources live`, `${number(objects)} objects`, `${rate.toFixed(1)} frames/s`];
  put(document.getElementById("summary"), state.ended ? "The run has ended." : sources.length ? parts.join(" · ") : "waiting for the first frame …");
  document.getElementById("summary").className = "";
}

function update(state) {
  const names = new Set(state.sources.map((one) => one.name));
  for (const [name, card] of cards) if (!names.has(name)) { card.node.remove(); cards.delete(name); }
  state.sources.forEach((source) => show(source, state.ended));
  document.getElementById("sources").classList.toggle("single", state.sources.length === 1);
  const more = document.getElementById("left-out");
  more.hidden = !state.left_out;
  put(more, `and ${number(state.left_out)} more sources`);
  summarise(state);
  fetchPictures();
}

async function follow() {
  let revision = 0;
  for (;;) {
    try {
      const answer = await fetch(`/state.json?after=${revision}`);
      if (answer.status === 403) { location.reload(); return; }
      const state = await answer.json();
      revision = state.revision;
      update(state);
      if (state.ended) return;
      await pause(LEAST_PAUSE_MS);
    } catch {
      document.getElementById("summary").className = "bad";
      put(document.getElementById("summary"), "The run has ended, or its machine cannot be reached; trying again …");
      for (const card of cards.values()) card.node.classList.add("stale");
      revision = 0;
      await pause(RETRY_MS);
    }
  }
}

follow();
