"use strict";
// Everything is kept in Web Mercator, 0 to 1 around the world, so that tiles fit below it.
const data = JSON.parse(document.getElementById("data").textContent);
const map = document.getElementById("map");
const canvas = document.getElementById("canvas");
const context = canvas.getContext("2d");
const EARTH_M = 40075016.686;
const shown = { coverage: true, paths: true, sightings: false, ellipses: true, objects: true };
const hidden = new Set();
const view = { x: 0.5, y: 0.5, scale: 1000 }; // scale: CSS pixels that the world is wide
let middle = 0; // longitude from which the others count, so that the antimeridian is no edge

function mercator(longitude, latitude) {
  const turned = ((longitude - middle + 540) % 360) - 180;
  const sine = Math.sin((latitude * Math.PI) / 180);
  return [0.5 + turned / 360, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
}

function degrees(x, y) {
  const longitude = ((x - 0.5) * 360 + middle + 540) % 360 - 180;
  return [longitude, (Math.atan(Math.sinh((0.5 - y) * 2 * Math.PI)) * 180) / Math.PI];
}

function metresPerPixel() {
  const latitude = (degrees(view.x, view.y)[1] * Math.PI) / 180;
  return (EARTH_M * Math.cos(latitude)) / view.scale;
}

function toScreen(point) {
  return [
    (point[0] - view.x) * view.scale + map.clientWidth / 2,
    (point[1] - view.y) * view.scale + map.clientHeight / 2,
  ];
}

function prepare() {
  const first = data.objects[0] || data.coverage[0] || data.paths[0];
  if (first) {
    let place = first.geometry.coordinates;
    while (typeof place[0] !== "number") place = place[0];
    middle = place[0];
  }
  const flat = (points) => points.map(([x, y]) => mercator(x, y));
  for (const one of data.objects) one.at = mercator(...one.geometry.coordinates);
  for (const one of data.paths) {
    const { type, coordinates } = one.geometry;
    one.lines = (type === "LineString" ? [coordinates] : coordinates).map(flat);
  }
  for (const one of data.coverage) {
    const { type, coordinates } = one.geometry;
    one.rings = (type === "Polygon" ? [coordinates] : coordinates).flat().map(flat);
  }
  data.sightings = data.sightings.map(([x, y, name]) => [mercator(x, y), name]);
}

function showAll() {
  const points = [
    ...data.objects.map((one) => one.at),
    ...data.paths.flatMap((one) => one.lines.flat()),
    ...(data.objects.length ? [] : data.coverage.flatMap((one) => one.rings.flat())),
  ];
  if (!points.length) return draw();
  let [west, north, east, south] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    west = Math.min(west, x); east = Math.max(east, x);
    north = Math.min(north, y); south = Math.max(south, y);
  }
  view.x = (west + east) / 2;
  view.y = (north + south) / 2;
  const least = 60 / EARTH_M; // at least so many metres, also around a single object
  view.scale = 0.8 * Math.min(
    map.clientWidth / Math.max(east - west, least),
    map.clientHeight / Math.max(south - north, least),
  );
  draw();
}

function trace(points) {
  points.forEach((point, number) => {
    const [x, y] = toScreen(point);
    if (number) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
}

function shade(gsd) {
  // The finer, the darker: from 1 cm to 1 m a pixel.
  const share = Math.min(Math.max((Math.log10(gsd) + 2) / 2, 0), 1);
  return `rgba(${[60, 110, 160].map((c) => Math.round(c + share * (215 - c))).join(",")},0.45)`;
}

function visible(name) {
  return !hidden.has(name);
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [map.clientWidth, map.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  if (data.tiles) drawTiles(width, height);
  if (shown.coverage) for (const one of data.coverage) {
    context.beginPath();
    one.rings.forEach((ring) => { trace(ring); context.closePath(); });
    context.fillStyle = shade(one.properties.gsd_to_m);
    context.fill("evenodd");
  }
  if (shown.sightings) for (const [point, name] of data.sightings) {
    if (!visible(name)) continue;
    const [x, y] = toScreen(point);
    context.fillStyle = `${data.classes[name] || "#888888"}66`;
    context.fillRect(x - 1, y - 1, 2, 2);
  }
  if (shown.paths) data.paths.filter((one) => visible(one.properties.class)).forEach(drawPath);
  const objects = data.objects.filter((one) => visible(one.properties.class));
  if (shown.ellipses) objects.forEach(drawEllipse);
  if (shown.objects) objects.forEach(drawObject);
  drawScale();
}

function drawPath(one) {
  context.beginPath();
  one.lines.forEach(trace);
  context.strokeStyle = data.classes[one.properties.class];
  context.lineWidth = 2;
  context.stroke();
}

function drawEllipse(one) {
  const { error_major_m: major, error_minor_m: minor, error_azimuth_deg: azimuth } = one.properties;
  const [x, y] = toScreen(one.at);
  const unit = 1 / metresPerPixel();
  context.beginPath();
  context.ellipse(x, y, major * unit, minor * unit, ((azimuth - 90) * Math.PI) / 180, 0, 2 * Math.PI);
  context.strokeStyle = `${data.classes[one.properties.class]}99`;
  context.lineWidth = 1;
  context.stroke();
}

function drawObject(one) {
  const [x, y] = toScreen(one.at);
  context.fillStyle = data.classes[one.properties.class];
  context.strokeStyle = "#ffffff";
  context.lineWidth = 1.5;
  context.beginPath();
  if (one.properties.moving && one.properties.heading_deg !== null) {
    const turn = ((one.properties.heading_deg - 90) * Math.PI) / 180;
    for (const [radius, angle] of [[9, 0], [7, 2.5], [3, Math.PI], [7, -2.5]]) {
      context.lineTo(x + radius * Math.cos(turn + angle), y + radius * Math.sin(turn + angle));
    }
    context.closePath();
  } else {
    context.arc(x, y, 4.5, 0, 2 * Math.PI);
  }
  context.stroke();
  context.fill();
}

function drawScale() {
  const perPixel = metresPerPixel();
  const most = 140 * perPixel;
  const power = 10 ** Math.floor(Math.log10(most));
  const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most) || power;
  document.getElementById("bar").style.width = `${length / perPixel}px`;
  document.getElementById("length").textContent = length >= 1000 ? `${length / 1000} km` : `${length} m`;
}

const tiles = new Map();
function drawTiles(width, height) {
  const zoom = Math.min(Math.max(Math.round(Math.log2(view.scale / 256)), 0), 19);
  const count = 2 ** zoom;
  const size = view.scale / count;
  const shift = middle / 360; // tiles count from Greenwich
  const left = (view.x + shift) * count - width / 2 / size;
  const top = view.y * count - height / 2 / size;
  for (let x = Math.floor(left); x < left + width / size; x++) {
    for (let y = Math.max(Math.floor(top), 0); y < Math.min(top + height / size, count); y++) {
      const number = ((x % count) + count) % count;
      const url = data.tiles.replace("{z}", zoom).replace("{x}", number).replace("{y}", y);
      if (!tiles.has(url)) {
        const image = new Image();
        image.onload = draw;
        image.src = url;
        tiles.set(url, image);
      }
      const image = tiles.get(url);
      if (image.complete && image.naturalWidth) {
        context.drawImage(image, (x - left) * size, (y - top) * size, size + 0.5, size + 0.5);
      }
    }
  }
}

function zoomAt(x, y, factor) {
  const scale = Math.min(Math.max(view.scale * factor, 300), 4e10);
  const [dx, dy] = [x - map.clientWidth / 2, y - map.clientHeight / 2];
  view.x += dx / view.scale - dx / scale;
  view.y += dy / view.scale - dy / scale;
  view.scale = scale;
  draw();
}

function moveBy(dx, dy) {
  view.x -= dx / view.scale;
  view.y -= dy / view.scale;
  draw();
}

function nearest(x, y) {
  let found = null;
  let least = 14;
  for (const one of data.objects) {
    if (!visible(one.properties.class)) continue;
    const [ox, oy] = toScreen(one.at);
    const away = Math.hypot(ox - x, oy - y);
    if (away < least) [found, least] = [one, away];
  }
  return found;
}

function about(one) {
  const p = one.properties;
  const [longitude, latitude] = one.geometry.coordinates;
  const lines = [
    `${latitude.toFixed(7)}, ${longitude.toFixed(7)}`,
    `ellipse ${p.error_major_m} × ${p.error_minor_m} m, ${p.error_azimuth_deg}°`,
  ];
  if (p.moving) {
    lines.push(`moving, ${p.speed_m_s} ± ${p.speed_sigma_m_s} m/s towards ${p.heading_deg}° ± ${p.heading_sigma_deg}°`);
  } else {
    lines.push(p.moving === false ? "standing" : "seen too briefly to tell whether it moves");
  }
  lines.push(`${p.sightings} sightings, seen ${p.times_seen} ${p.times_seen === 1 ? "time" : "times"}`);
  lines.push(p.first_utc ? `${p.first_utc} to ${p.last_utc}` : `${p.first_s} to ${p.last_s} s`);
  lines.push(p.seen_in);
  return lines;
}

const popup = document.getElementById("popup");
function point(x, y) {
  const [longitude, latitude] = degrees(
    view.x + (x - map.clientWidth / 2) / view.scale,
    view.y + (y - map.clientHeight / 2) / view.scale,
  );
  document.getElementById("place").textContent = `${latitude.toFixed(6)}, ${longitude.toFixed(6)}`;
  const one = nearest(x, y);
  popup.hidden = !one;
  if (!one) return;
  const title = document.createElement("b");
  title.textContent = `${one.properties.class} ${one.properties.object_id}`;
  const lines = about(one).map((line) => {
    const division = document.createElement("div");
    division.textContent = line;
    return division;
  });
  popup.replaceChildren(title, ...lines);
  popup.style.left = `${Math.max(Math.min(x + 14, map.clientWidth - popup.offsetWidth - 6), 4)}px`;
  popup.style.top = `${Math.max(Math.min(y + 14, map.clientHeight - popup.offsetHeight - 6), 4)}px`;
}

function control() {
  const fingers = new Map();
  const place = (event) => {
    const box = map.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  map.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button")) return;
    fingers.set(event.pointerId, place(event));
    map.setPointerCapture(event.pointerId);
    map.classList.add("dragged");
  });
  map.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = fingers.get(event.pointerId);
    if (!before) return point(...now);
    const other = [...fingers.entries()].find(([number]) => number !== event.pointerId);
    if (other) {
      const [ox, oy] = other[1];
      const was = Math.hypot(before[0] - ox, before[1] - oy);
      zoomAt((now[0] + ox) / 2, (now[1] + oy) / 2, Math.hypot(now[0] - ox, now[1] - oy) / Math.max(was, 1));
      moveBy((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else {
      moveBy(now[0] - before[0], now[1] - before[1]);
    }
    fingers.set(event.pointerId, now);
  });
  const lift = (event) => {
    fingers.delete(event.pointerId);
    map.classList.remove("dragged");
    point(...place(event));
  };
  map.addEventListener("pointerup", lift);
  map.addEventListener("pointercancel", lift);
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomAt(...place(event), 2 ** (-event.deltaY / 300));
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    const centre = [map.clientWidth / 2, map.clientHeight / 2];
    if (steps[event.key]) moveBy(...steps[event.key]);
    else if (event.key === "+" || event.key === "=") zoomAt(...centre, 1.5);
    else if (event.key === "-") zoomAt(...centre, 1 / 1.5);
    else return;
    event.preventDefault();
  });
  const centre = () => [map.clientWidth / 2, map.clientHeight / 2];
  document.getElementById("in").onclick = () => zoomAt(...centre(), 1.6);
  document.getElementById("out").onclick = () => zoomAt(...centre(), 1 / 1.6);
  document.getElementById("all").onclick = showAll;
  new ResizeObserver(draw).observe(map);
}

function legend() {
  const host = document.getElementById("legend");
  const row = (text, checked, change, mark) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.checked = checked;
    box.onchange = () => { change(box.checked); draw(); };
    label.append(box, ...(mark ? [mark] : []), document.createTextNode(text));
    host.append(label);
    return label;
  };
  const swatch = (colour, kind) => {
    const mark = document.createElement("i");
    mark.className = kind;
    mark.style.background = colour;
    return mark;
  };
  const words = {
    objects: "objects; arrows move",
    ellipses: "95 % error ellipses",
    paths: "paths of what moves",
    sightings: "sightings",
    coverage: "ground seen, a pixel spans up to",
  };
  const counts = {};
  for (const one of data.objects) counts[one.properties.class] = (counts[one.properties.class] || 0) + 1;
  for (const [layer, text] of Object.entries(words)) {
    row(text, shown[layer], (on) => { shown[layer] = on; });
    if (layer === "objects") for (const [name, colour] of Object.entries(data.classes)) {
      row(`${name} (${counts[name] || 0})`, true, (on) => { hidden[on ? "delete" : "add"](name); }, swatch(colour, "dot"))
        .classList.add("group");
    }
  }
  for (const gsd of [...new Set(data.coverage.map((one) => one.properties.gsd_to_m))].sort((a, b) => a - b)) {
    const label = document.createElement("label");
    label.className = "group";
    label.append(swatch(shade(gsd), ""), document.createTextNode(gsd < 1 ? `${+(gsd * 100).toPrecision(3)} cm` : `${gsd} m`));
    host.append(label);
  }
}

prepare();
legend();
control();
showAll();
