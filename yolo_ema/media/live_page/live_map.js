"use strict";
// The drone, the ground it sees and the objects there, north up, in metres around the drone; and the same as a table.
const METRES_PER_DEGREE = 111320, MOST_ROWS = 40, MARGIN_PX = 28, ELLIPSE_STEPS = 32;

function aroundCamera(map) {
  const origin = map.camera, narrowing = Math.cos(origin.latitude * Math.PI / 180);
  const east = (longitude) => ((longitude - origin.longitude + 540) % 360 - 180) * METRES_PER_DEGREE * narrowing;
  return (longitude, latitude) => [east(longitude), (latitude - origin.latitude) * METRES_PER_DEGREE];
}

function ellipseOf([east, north], one) {
  const turn = one.error_azimuth_deg * Math.PI / 180, points = [];
  for (let step = 0; step < ELLIPSE_STEPS; step += 1) {
    const angle = step / ELLIPSE_STEPS * 2 * Math.PI;
    const along = one.position_error_m * Math.cos(angle), across = one.error_minor_m * Math.sin(angle);
    points.push([east + along * Math.sin(turn) + across * Math.cos(turn), north + along * Math.cos(turn) - across * Math.sin(turn)]);
  }
  return points;
}

// Scales come in steps, so that the drawing does not breathe with every frame.
function fit(points, width, height) {
  const easts = points.map((one) => one[0]), norths = points.map((one) => one[1]);
  const [west, right, south, top] = [Math.min(...easts), Math.max(...easts), Math.min(...norths), Math.max(...norths)];
  const needed = Math.max((right - west) / (width - 2 * MARGIN_PX), (top - south) / (height - 2 * MARGIN_PX), 0.01);
  const metresPerPx = 1.25 ** Math.ceil(Math.log(needed) / Math.log(1.25));
  const place = ([east, north]) => [width / 2 + (east - (west + right) / 2) / metresPerPx, height / 2 - (north - (south + top) / 2) / metresPerPx];
  return { place, metresPerPx };
}

function trace(pen, points) {
  pen.beginPath();
  points.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.closePath();
}

function drawDrone(pen, [x, y], yawDeg, ink, ground) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(yawDeg * Math.PI / 180);
  trace(pen, [[0, -11], [7, 8], [0, 4], [-7, 8]]);
  pen.fillStyle = ink;
  pen.strokeStyle = ground;
  pen.lineWidth = 2;
  pen.stroke();
  pen.fill();
  pen.restore();
}

function drawScale(pen, height, metresPerPx, ink) {
  const most = 110 * metresPerPx, power = 10 ** Math.floor(Math.log10(most));
  const metres = [5, 2, 1].map((step) => step * power).find((one) => one <= most), long = metres / metresPerPx;
  pen.strokeStyle = pen.fillStyle = ink;
  pen.lineWidth = 2;
  pen.beginPath();
  [[12, height - 18], [12, height - 12], [12 + long, height - 12], [12 + long, height - 18]].forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
  pen.stroke();
  pen.fillText(metres >= 1000 ? `${metres / 1000} km` : `${metres} m`, 12, height - 24);
}

function drawNorth(pen, width, ink) {
  pen.fillStyle = ink;
  trace(pen, [[width - 20, 10], [width - 14, 28], [width - 20, 24], [width - 26, 28]]);
  pen.fill();
  pen.fillText("N", width - 24, 42);
}

function drawMap(canvas, map, colours) {
  const width = canvas.clientWidth, height = canvas.clientHeight, density = window.devicePixelRatio || 1;
  if (!width) return;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  const pen = canvas.getContext("2d"), style = getComputedStyle(canvas), named = (name) => style.getPropertyValue(name).trim();
  const [ink, accent, ground] = [named("--ink"), named("--accent"), named("--ground")];
  pen.scale(density, density);
  pen.font = "13px system-ui, 'DejaVu Sans', sans-serif";
  if (!map.camera) return;
  const toMetres = aroundCamera(map), view = map.view.map((one) => toMetres(...one));
  const ellipses = map.objects.map((one) => ellipseOf(toMetres(one.longitude, one.latitude), one));
  const { place, metresPerPx } = fit([[0, 0], ...view, ...ellipses.flat()], width, height);
  if (view.length) {
    trace(pen, view.map(place));
    pen.strokeStyle = pen.fillStyle = accent;
    pen.lineWidth = 1.5;
    pen.globalAlpha = 0.12;
    pen.fill();
    pen.globalAlpha = 1;
    pen.stroke();
  }
  map.objects.forEach((one, at) => {
    const colour = colours.get(one.class) || ink, [x, y] = place(toMetres(one.longitude, one.latitude));
    trace(pen, ellipses[at].map(place));
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineWidth = 1;
    pen.globalAlpha = 0.15;
    pen.fill();
    pen.globalAlpha = 1;
    pen.stroke();
    pen.beginPath();
    pen.arc(x, y, 3.5, 0, 2 * Math.PI);
    pen.fill();
  });
  drawDrone(pen, place([0, 0]), map.camera.yaw_deg, ink, ground);
  drawScale(pen, height, metresPerPx, ink);
  drawNorth(pen, width, ink);
}

function cameraLine(map) {
  const camera = map.camera;
  if (!camera) return "";
  const about = [`drone at ${camera.longitude.toFixed(7)}, ${camera.latitude.toFixed(7)}`, `${camera.height_m.toFixed(1)} m up`];
  return [...about, `yaw ${camera.yaw_deg.toFixed(1)}°`, `pitch ${camera.pitch_deg.toFixed(1)}°`, `pose ${camera.age_s.toFixed(1)} s older than the frame, at most ${map.max_age_s} s`].join(" · ");
}

function unplacedLine(map) {
  const missed = Object.entries(map.frames_without_pose), lines = map.unplaced.map((one) => `${one.count} without a place: ${one.words} (${one.reason})`);
  if (missed.length) lines.push(`frames without a pose so far: ${missed.map(([reason, count]) => `${count} ${reason}`).join(", ")}`);
  return lines.join("\n");
}

function showMap(part, source) {
  const map = source.map, find = (what) => part.querySelector(what);
  part.hidden = !map;
  if (!map) return;
  const colours = new Map((source.classes || []).map((one) => [one.name, one.colour]));
  find("canvas").hidden = !map.camera;
  find(".no-camera").hidden = Boolean(map.camera);
  put(find(".no-camera"), map.camera ? "" : `No positions: ${map.no_camera}`);
  put(find(".camera"), cameraLine(map));
  put(find(".unplaced"), unplacedLine(map));
  const rows = map.objects.slice(0, MOST_ROWS), rest = map.objects.length - rows.length;
  find("table").hidden = !rows.length;
  const cells = () => element("tr", ...Array.from({ length: 5 }, () => element("td")));
  fill(find("tbody"), rows, cells).forEach((row, at) => {
    const one = rows[at], track = one.track_id ?? "–";
    [one.class, track, one.longitude.toFixed(7), one.latitude.toFixed(7), `± ${one.position_error_m.toFixed(1)} m`].forEach((text, place) => put(row.children[place], String(text)));
  });
  find(".more").hidden = !rest;
  put(find(".more"), rest ? `and ${number(rest)} more, drawn above and in /state.json` : "");
  drawMap(find("canvas"), map, colours);
}
