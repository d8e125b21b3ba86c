"use strict";
/* What stands beside the picture. Everything from data is set as text, never as HTML. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const SVG = "http://www.w3.org/2000/svg";
  const LISTED = 12;
  let bar = ""; // what the colour bar shows

  function byId(id) { return document.getElementById(id); }

  /* Writes only what has changed: without a graphics card each repaint of the page counts. */
  function put(id, content) { if (byId(id).textContent !== content) byId(id).textContent = content; }

  function text(key) {
    const texts = XAI.locales[XAI.language] || XAI.locales.en;
    return texts[key] || XAI.locales.en[key] || key;
  }

  function translate() {
    document.documentElement.lang = XAI.language;
    document.title = XAI.manifest.name + " - " + text("title");
    for (const element of document.querySelectorAll("[data-text]")) element.textContent = text(element.dataset.text);
    for (const element of document.querySelectorAll("[data-label]")) {
      element.setAttribute("aria-label", text(element.dataset.label));
      if (element.tagName === "BUTTON") element.title = text(element.dataset.label);
    }
    space();
    channels();
  }

  /* Whose coordinates are shown; a person may lie elsewhere than the others. */
  function space() {
    const found = (XAI.shown || {}).space || XAI.manifest.space;
    byId("space").textContent = text(found === "mni" ? "mni" : "scan_space") + " x, y, z (mm)";
  }

  /* Where left is, and whether the planes, which follow a scan's voxels, are turned against the axes of mm. A rendering
     has no convention: it is seen from any side. */
  function sides(convention, scan) {
    if (byId("layout").value === "render") { put("sides", text("rendered")); return; }
    const m = scan ? scan.about.affine : [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
    const angles = [0, 1, 2].map(function (axis) { return Math.acos(Math.min(1, Math.abs(m[axis][axis]) / Math.hypot(m[0][axis], m[1][axis], m[2][axis]))); });
    const degrees = Math.round((180 / Math.PI) * Math.max.apply(null, angles));
    put("sides", text(convention) + (degrees ? " · " + text("turned").replace("{degrees}", degrees) : ""));
  }

  /* The person's page in the report, where the viewer lies in one. */
  function report(person) {
    byId("report").hidden = !person.page;
    if (person.page) byId("report").href = person.page; else byId("report").removeAttribute("href");
  }

  function channels() {
    const names = XAI.manifest.channels || [];
    byId("channels").hidden = names.length < 2;
    byId("channels").textContent = text("channels") + " " + names.join(", ") + ". " + text("channel_shown") + " " + names[0] + ".";
  }

  /* Three digits, whatever the size. */
  function number(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "-";
    const size = Math.abs(value);
    return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  }

  /* A probability that is not one is not shown as 100 %. */
  function percent(chance) {
    if (chance > 0.999 && chance < 1) return "> 99.9 %";
    if (chance > 0 && chance < 0.001) return "< 0.1 %";
    return (100 * chance).toFixed(1) + " %";
  }

  function predicted(person) {
    const chance = (person.probabilities || {})[person.prediction], parts = [], known = person.target;
    const shown = typeof person.prediction === "string" ? person.prediction : number(person.prediction);
    if (known !== undefined && known !== null) parts.push(text("true") + ": " + (typeof known === "number" ? number(known) : known));
    parts.push(text("predicted") + ": " + shown + (chance === undefined || chance === null ? "" : " (" + percent(chance) + ")"));
    return parts;
  }

  /* `map`: index of the explainer that is shown. */
  function decision(person, map) {
    const element = byId("decision"), parts = person.prediction === undefined ? [] : predicted(person);
    element.replaceChildren();
    if (person.several || person.key) parts.push(text("fold") + " " + person.fold);
    const explained = person.explained && typeof person.explained === "object" ? person.explained[map] : person.explained;
    if (explained) parts.push(text("explained") + ": " + explained);
    element.append(parts.join(" · "));
    const marks = person.correct === undefined ? [] : [person.correct ? "right" : "wrong"];
    if (person.seen) marks.push("seen");
    for (const name of marks) {
      const mark = document.createElement("span");
      mark.className = name === "right" ? "right" : "wrong";
      mark.textContent = " · " + text(name);
      element.append(mark);
    }
  }

  /* Sum of relevance by slice; the slice of the crosshair is marked: its number, since a scan may lie turned against mm. */
  function curve(slices, axis, slice) {
    const svg = byId("curve");
    svg.replaceChildren();
    const found = slices && slices[axis];
    if (!found || found.mm.length < 2) return;
    const width = 300, height = 110, last = found.mm.length - 1;
    let largest = 0;
    for (let i = 0; i < found.mm.length; i++) largest = Math.max(largest, found.positive[i], -found.negative[i]);
    const x = function (number) { return (number / last) * width; };
    const y = function (value) { return height / 2 - (largest ? (value / largest) * (height / 2 - 4) : 0); };
    const line = function (values, colour) {
      const made = document.createElementNS(SVG, "polyline");
      made.setAttribute("points", found.mm.map(function (_, i) { return x(i).toFixed(1) + "," + y(values[i]).toFixed(1); }).join(" "));
      made.setAttribute("fill", "none");
      made.setAttribute("stroke", colour);
      made.setAttribute("stroke-width", "1.6");
      made.setAttribute("vector-effect", "non-scaling-stroke");
      svg.append(made);
    };
    const ruler = function (x1, y1, x2, y2, colour) {
      const made = document.createElementNS(SVG, "line");
      for (const [name, value] of [["x1", x1], ["y1", y1], ["x2", x2], ["y2", y2]]) made.setAttribute(name, value);
      made.setAttribute("stroke", colour);
      made.setAttribute("vector-effect", "non-scaling-stroke");
      svg.append(made);
    };
    ruler(0, height / 2, width, height / 2, "var(--line)");
    line(found.positive, "var(--for)");
    line(found.negative, "var(--against)");
    ruler(x(slice), 0, x(slice), height, "var(--front)");
  }

  /* The number of the slice nearest to a click. */
  function clicked(event, slices, axis) {
    const box = byId("curve").getBoundingClientRect();
    return Math.round(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)) * (slices[axis].mm.length - 1));
  }

  function clusterTable(rows, go) {
    const body = byId("clusters").tBodies[0];
    body.replaceChildren();
    const listed = rows.slice(0, LISTED);
    for (const row of listed) {
      const line = body.insertRow();
      line.insertCell().textContent = row.volume < 100 ? number(row.volume) : String(Math.round(row.volume));
      line.insertCell().textContent = number(row.peak);
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = row.mm.map(function (v) { return v.toFixed(0); }).join(", ");
      button.addEventListener("click", function () { go(row.mm); });
      line.insertCell().append(button);
      line.insertCell().textContent = row.region;
    }
    if (rows.length === 0 || rows.length > listed.length) {
      const cell = body.insertRow().insertCell();
      cell.colSpan = 4;
      cell.textContent = text(rows.length === 0 ? "none" : "more");
    }
  }

  function colourBar(lut, ends) {
    const shown = [ends.threshold, ends.limit, ends.signs].join(" ");
    if (bar === shown) return;
    bar = shown;
    // Read often, so that the browser keeps it in memory: a slider should not wait for the graphics card here.
    const canvas = byId("colours"), context = canvas.getContext("2d", { willReadFrequently: true }), width = canvas.width;
    const picture = context.createImageData(width, canvas.height), pixels = new Uint32Array(picture.data.buffer), half = width / 2;
    const colours = { positive: new Uint32Array(lut.positive.buffer), negative: new Uint32Array(lut.negative.buffer) };
    for (let i = 0; i < half; i++) {
      const value = ends.threshold + ((ends.limit - ends.threshold) * i) / half;
      const step = Math.min(255, Math.floor((value / ends.limit) * 256));
      for (const [name, place] of [["positive", half + i], ["negative", half - 1 - i]])
        if (ends.signs === "both" || ends.signs === name) for (let row = 0; row < canvas.height; row++) pixels[row * width + place] = colours[name][step] | 0xff000000;
    }
    context.putImageData(picture, 0, 0);
    put("end-low", "-" + number(ends.limit));
    put("end-middle", "\u00b1 " + number(ends.threshold));
    put("end-high", number(ends.limit));
  }

  function message(shown) {
    const element = byId("message");
    element.hidden = !shown;
    element.textContent = shown || "";
  }

  XAI.panels = {
    byId: byId, put: put, text: text, translate: translate, number: number, percent: percent, decision: decision, report: report, sides: sides, space: space, curve: curve, clicked: clicked,
    clusterTable: clusterTable, colourBar: colourBar, message: message,
  };
})();
