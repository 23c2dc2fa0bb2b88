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
