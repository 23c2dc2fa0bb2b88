// The rest of the page's script, after page.js: controls, popup and legend.
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
    lines.push(p.moving === false ? "stationary" : "seen too briefly to tell whether it moves");
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
    objects: "objects; arrows are moving",
    ellipses: "95 % error ellipses",
    paths: "paths of moving objects",
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
