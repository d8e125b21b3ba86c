"use strict";
/* Joins state, volumes and panels to NiiVue. */
(function () {
  const XAI = window.XAI, panels = XAI.panels, byId = panels.byId, manifest = XAI.manifest, people = manifest.people;
  const state = XAI.state.read();
  const LAYOUTS = { planes: 3, axial: 0, coronal: 1, sagittal: 2, all: 3, render: 4 };
  const NEVER = 0, ALWAYS = 1; // the 3D rendering among the planes
  const AXES = { x: 0, y: 1, z: 2 };
  const SETTLE = 150; // ms after the last change until clusters are looked for
  // Dark to light away from zero, as in the report; the first entry is what lies below the threshold.
  const FOR = { R: [153, 153, 245, 255], G: [5, 5, 92, 237], B: [13, 13, 13, 89], A: [0, 255, 255, 255], I: [0, 1, 128, 255] };
  const AGAINST = { R: [20, 20, 13, 166], G: [26, 26, 128, 250], B: [158, 158, 242, 255], A: [0, 255, 255, 255], I: [0, 1, 128, 255] };
  // NiiVue's colours from zero to the limit with nothing below the threshold: a colour keeps its meaning when the
  // threshold moves.
  const TRANSPARENT_BELOW = 1;
  const EXACT = 1 - 1e-6; // a voxel at the threshold is shown, as the table of clusters counts it
  const now = { scan: null, map: null, raw: null, atlas: null, truth: null, mm: null, turn: 0, clusters: null };
  let nv = null, settling = 0, frame = 0;

  for (const person of people) person.several = people.filter(function (other) { return other.id === person.id; }).length > 1;

  /* The beginning of the names of a person's volumes. */
  function key(number) { return people[number].key || "p" + number; }

  /* For the parts of a page that are not the viewer's own. */
  function tell(name) { document.dispatchEvent(new CustomEvent(name)); }

  function label(person) { return person.several ? person.id + " (" + panels.text("fold") + " " + person.fold + ")" : person.id; }

  function current() {
    const found = people.findIndex(function (p) { return p.id === state.scan && (state.fold === "" || String(p.fold) === state.fold); });
    return found < 0 ? 0 : found;
  }

  function explainer(person) {
    const wanted = manifest.explainers.indexOf(state.explainer);
    return person.maps.includes(wanted) ? wanted : person.maps[0];
  }

  /* Where the colours begin and end, in the map's own units. */
  function ends() {
    const about = now.map.about;
    const value = function (step) {
      return state.scaling === "percentile" ? about.quantiles[step] : (about.largest * step) / 1000;
    };
    const threshold = value(state.threshold), limit = Math.max(value(state.limit), value(state.threshold));
    return { threshold: threshold, limit: limit > 0 ? limit : 1, signs: state.signs };
  }

  function applyScale() {
    if (!now.map) return;
    const found = ends();
    now.map.colormapType = TRANSPARENT_BELOW;
    now.map.cal_min = Math.max(found.threshold * EXACT, found.limit * 1e-9);
    now.map.cal_max = found.limit;
    now.map.cal_minNeg = NaN;
    now.map.cal_maxNeg = NaN;
    now.map.opacity = state.shown ? state.opacity / 100 : 0;
    panels.colourBar(XAI.lut, found);
    labels(found);
  }

  function labels(found) {
    const percent = function (step) { return (step / 10).toFixed(1) + " %"; };
    const absolute = state.scaling === "absolute";
    byId("threshold-value").textContent = absolute ? panels.number(found.threshold) : percent(state.threshold);
    byId("limit-value").textContent = absolute ? panels.number(found.limit) : percent(state.limit);
    byId("opacity-value").textContent = state.opacity + " %";
    byId("cluster-value").textContent = state.cluster + " " + panels.text("voxel");
  }

  /* Small clusters and signs need the voxels; a threshold alone needs the colours only. */
  function applyMask() {
    if (!now.map) return;
    const found = ends();
    now.clusters = XAI.clusters.labelled(now.raw, now.map.about.shape, found.threshold, state.signs);
    const masked = state.cluster > 1 || state.signs !== "both";
    now.map.img = masked ? XAI.clusters.kept(now.raw, now.clusters, state.cluster) : now.raw;
    listClusters();
  }

  function listClusters() {
    const about = now.map.about, person = people[current()], m = about.affine;
    const size = Math.abs(
      m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
        m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    );
    const rows = now.clusters.found
      .filter(function (cluster) { return cluster.voxels >= Math.max(1, state.cluster); })
      .sort(function (a, b) { return b.voxels - a.voxels || a.at - b.at; })
      .slice(0, 200)
      .map(function (cluster) {
        const mm = XAI.volumes.transformed(m, XAI.clusters.place(cluster.at, about.shape));
        const place = person.to_mni ? XAI.volumes.transformed(person.to_mni, mm) : mm;
        return { volume: cluster.voxels * size, peak: cluster.peak, mm: place, go: mm, region: region(person, mm) };
      });
    panels.clusterTable(rows, function (shown) { go(rows.find(function (row) { return row.mm === shown; }).go); });
  }

  function region(person, mm) {
    if (!now.atlas || person.atlas === false) return panels.text("no_atlas");
    return XAI.volumes.regionAt(now.atlas, person, mm) || panels.text("no_region");
  }

  /* The scan below stays as it is: preparing it for the 3D rendering takes longer than the relevance over it. */
  function draw() {
    if (frame) return;
    frame = window.requestAnimationFrame(function () {
      frame = 0;
      if (nv.volumes.length !== 2 || nv.volumes[1] !== now.map) { nv.updateGLVolume(); return; }
      nv.refreshLayers(now.map, 1);
      nv.drawScene();
    });
  }

  function changed(needsMask) {
    XAI.state.write(state);
    applyScale();
    if (state.cluster > 1 || state.signs !== "both") needsMask = true;
    window.clearTimeout(settling);
    if (needsMask) {
      settling = window.setTimeout(function () { applyMask(); draw(); }, state.cluster > 1 ? 40 : SETTLE);
    }
    draw();
  }

  function go(mm) {
    nv.scene.crosshairPos = nv.mm2frac(mm);
    nv.drawScene();
    nv.createOnLocationChange();
  }

  function located(data) {
    const mm = Array.from(data.mm).slice(0, 3), person = people[current()];
    if (!person) return;
    now.mm = mm;
    const shown = person.to_mni ? XAI.volumes.transformed(person.to_mni, mm) : mm;
    byId("mm").textContent = shown.map(function (v) { return v.toFixed(1); }).join(", ");
    const about = (now.scan || now.map || {}).about;
    byId("voxel").textContent = about ? XAI.volumes.transformed(about.to_voxel, mm).map(Math.round).join(", ") : "";
    byId("value").textContent = now.map ? panels.number(XAI.volumes.valueAt(now.map, mm, now.raw)) : "";
    byId("region").textContent = region(person, mm);
    if (now.map) panels.curve(now.map.about.slices, state.axis, mm, AXES[state.axis]);
    state.mm = mm.map(function (v) { return v.toFixed(2); }).join(",");
    XAI.state.write(state);
  }

  /* Shows the chosen person; what an earlier, slower choice still loads is thrown away. */
  async function show() {
    const turn = ++now.turn, number = current(), person = people[number];
    if (!person) { clear(); return; }
    const map = explainer(person);
    const kept = XAI.state.place(state) || now.mm;
    state.scan = person.id;
    state.fold = person.several ? String(person.fold) : "";
    state.explainer = manifest.explainers[map];
    byId("person").value = label(person);
    fillExplainers(person, map);
    XAI.shown = person;
    panels.decision(person);
    panels.space();
    tell("xai-shown");
    panels.message(panels.text("loading"));
    try {
      const loads = [
        person.scan ? XAI.volumes.load(key(number) + "-scan", { colormap: "gray" }) : null,
        XAI.volumes.load(key(number) + "-m" + map, { colormap: "xai-for", colormapNegative: "xai-against", cal_min: 0, cal_max: 1 }),
        manifest.atlas && !now.atlas ? XAI.volumes.load("atlas", {}) : now.atlas,
        person.truth ? XAI.volumes.load(key(number) + "-truth", { colormap: "green", cal_min: 0.5, cal_max: 1 }) : null,
      ];
      const volumes = await Promise.all(loads);
      if (turn !== now.turn) return;
      [now.scan, now.map, now.atlas, now.truth] = volumes;
      now.raw = now.map.img;
      if (now.scan) [now.scan.cal_min, now.scan.cal_max] = now.scan.about.window;
      byId("truth").disabled = !now.truth;
      byId("atlas").disabled = !now.atlas || Boolean(person.to_mni) || person.atlas === false;
      stack();
      applyScale();
      applyMask();
      nv.updateGLVolume();
      go(kept || centre());
      panels.message(!now.scan ? panels.text("no_scan") : now.map.about.largest === 0 ? panels.text("empty") : "");
      XAI.ready = person.id;
    } catch (error) {
      if (turn === now.turn) panels.message(panels.text("failed") + " " + error.message);
    }
  }

  /* Nobody is there to be looked at. */
  function clear() {
    XAI.shown = null;
    [now.scan, now.map, now.truth, now.clusters] = [null, null, null, null];
    for (const volume of nv.volumes.slice()) nv.removeVolume(volume);
    nv.drawScene();
    byId("person").value = "";
    for (const name of ["explainer", "decision", "mm", "voxel", "value", "region", "curve"]) byId(name).replaceChildren();
    byId("clusters").tBodies[0].replaceChildren();
    panels.message(panels.text("nobody"));
    tell("xai-shown");
  }

  function centre() {
    const found = now.clusters.found.reduce(function (best, c) { return !best || Math.abs(c.peak) > Math.abs(best.peak) ? c : best; }, null);
    const about = now.map.about;
    const index = found ? XAI.clusters.place(found.at, about.shape) : about.shape.map(function (n) { return Math.floor(n / 2); });
    return XAI.volumes.transformed(about.affine, index);
  }

  /* The volumes in the order in which they lie over each other. */
  function stack() {
    const person = people[current()];
    const wanted = [now.scan, now.map];
    if (now.truth && state.truth) { now.truth.opacity = 0.45; wanted.push(now.truth); }
    if (now.atlas && state.atlas && !person.to_mni && person.atlas !== false) { paintAtlas(); wanted.push(now.atlas); }
    // All at once: addVolume prepares everything anew for each of them.
    nv.volumes = wanted.filter(Boolean);
    nv.back = nv.volumes[0];
    nv.overlays = nv.volumes.slice(1);
  }

  function paintAtlas() {
    if (now.atlas.painted) return;
    const names = Object.keys(now.atlas.names).map(Number).sort(function (a, b) { return a - b; });
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    names.forEach(function (value, position) {
      const hue = (position * 137.508) % 360; // golden angle: neighbours differ
      const part = function (n) { const k = (n + hue / 30) % 12; return Math.round(255 * (0.55 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1)))); };
      table.R.push(part(0)); table.G.push(part(8)); table.B.push(part(4)); table.A.push(255); table.I.push(value);
      table.labels.push(now.atlas.names[String(value)]);
    });
    now.atlas.setColormapLabel(table);
    now.atlas.opacity = 0.35;
    now.atlas.painted = true;
  }

  function fillExplainers(person, map) {
    byId("explainer").replaceChildren(...person.maps.map(function (index) {
      const option = document.createElement("option");
      option.value = option.textContent = manifest.explainers[index];
      option.selected = index === map;
      return option;
    }));
  }

  function step(by) {
    if (people.length === 0) return;
    const person = people[(current() + by + people.length) % people.length];
    state.scan = person.id;
    state.fold = String(person.fold);
    show();
  }

  /* Without a graphics card the 3D rendering of a 1 mm scan takes seconds a frame. */
  function isSlow() {
    const info = nv.gl.getExtension("WEBGL_debug_renderer_info");
    const name = String(nv.gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : nv.gl.RENDERER));
    return /swiftshader|llvmpipe|softpipe|software|basic render/i.test(name);
  }

  function look() {
    const layout = state.layout || (isSlow() ? "planes" : "all");
    byId("layout").value = layout;
    nv.opts.multiplanarShowRender = layout === "all" ? ALWAYS : NEVER;
    nv.opts.isRadiologicalConvention = state.convention === "radiological";
    nv.opts.isNearestInterpolation = !state.smooth;
    nv.setSliceType(LAYOUTS[layout]);
    nv.setInterpolation(!state.smooth);
    byId("sides").textContent = panels.text(state.convention);
    const theme = state.theme || (window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
    document.documentElement.dataset.theme = theme;
    byId("theme").value = theme;
    XAI.state.write(state);
  }

  function fillControls() {
    for (const name of ["scaling", "signs", "convention", "axis"]) byId(name).value = state[name];
    for (const name of ["threshold", "limit", "opacity", "cluster"]) byId(name).value = state[name];
    for (const name of ["shown", "smooth", "atlas", "truth"]) byId(name).checked = state[name];
    byId("language").value = XAI.language;
  }

  function listen() {
    for (const name of ["threshold", "limit", "opacity", "cluster"])
      byId(name).addEventListener("input", function (event) { state[name] = Number(event.target.value); changed(name !== "opacity" && name !== "limit"); });
    for (const name of ["scaling", "signs"])
      byId(name).addEventListener("change", function (event) { state[name] = event.target.value; changed(true); });
    byId("shown").addEventListener("change", function (event) { state.shown = event.target.checked; changed(false); });
    for (const name of ["layout", "convention", "theme"])
      byId(name).addEventListener("change", function (event) { state[name] = event.target.value; look(); });
    byId("smooth").addEventListener("change", function (event) { state.smooth = event.target.checked; look(); });
    for (const name of ["atlas", "truth"])
      byId(name).addEventListener("change", function (event) { state[name] = event.target.checked; XAI.state.write(state); stack(); applyScale(); nv.updateGLVolume(); });
    byId("axis").addEventListener("change", function (event) { state.axis = event.target.value; if (now.mm) go(now.mm); });
    byId("explainer").addEventListener("change", function (event) { state.explainer = event.target.value; show(); });
    byId("language").addEventListener("change", function (event) { state.language = event.target.value; speak(); if (now.map) { applyScale(); listClusters(); go(now.mm); panels.decision(XAI.shown); } tell("xai-language"); });
    byId("person").addEventListener("change", function (event) {
      const found = people.find(function (person) { return label(person) === event.target.value || person.id === event.target.value || person.subject === event.target.value; });
      if (found) { state.scan = found.id; state.fold = String(found.fold); show(); } else event.target.value = XAI.shown ? label(XAI.shown) : "";
    });
    byId("previous").addEventListener("click", function () { step(-1); });
    byId("next").addEventListener("click", function () { step(1); });
    byId("curve").addEventListener("click", function (event) {
      if (!now.map || !now.mm) return;
      const mm = now.mm.slice();
      mm[AXES[state.axis]] = panels.clicked(event, now.map.about.slices, state.axis);
      go(mm);
    });
    byId("link").addEventListener("click", copyLink);
    document.addEventListener("keydown", pressed);
    window.addEventListener("hashchange", function () { Object.assign(state, XAI.state.read()); speak(); look(); show(); });
  }

  async function copyLink() {
    try { await navigator.clipboard.writeText(window.location.href); byId("link").textContent = panels.text("copied"); }
    catch (_error) { window.prompt(panels.text("link"), window.location.href); }
  }

  function pressed(event) {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && event.target.type !== "checkbox" && event.target.type !== "range";
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const person = people[current()];
    if (!person) return;
    const keys = {
      n: function () { step(1); },
      p: function () { step(-1); },
      e: function () { state.explainer = manifest.explainers[person.maps[(person.maps.indexOf(explainer(person)) + 1) % person.maps.length]]; show(); },
      r: function () { state.shown = !state.shown; fillControls(); changed(false); },
      c: function () { state.convention = state.convention === "radiological" ? "neurological" : "radiological"; fillControls(); look(); },
      l: function () { const names = Object.keys(LAYOUTS); state.layout = names[(names.indexOf(byId("layout").value) + 1) % names.length]; look(); },
      "+": function () { state.threshold = Math.min(1000, state.threshold + 5); fillControls(); changed(true); },
      "-": function () { state.threshold = Math.max(0, state.threshold - 5); fillControls(); changed(true); },
    };
    if (Object.prototype.hasOwnProperty.call(keys, event.key)) { event.preventDefault(); keys[event.key](); }
  }

  function speak() {
    const codes = Object.keys(XAI.locales);
    const asked = state.language || (navigator.language || "en").slice(0, 2);
    XAI.language = codes.includes(asked) ? asked : "en";
    byId("language").replaceChildren(...codes.map(function (code) {
      const option = document.createElement("option");
      option.value = code;
      option.textContent = XAI.locales[code].language;
      return option;
    }));
    panels.translate();
    fillControls();
    if (nv) byId("sides").textContent = panels.text(state.convention);
  }

  function listPeople() {
    byId("people").replaceChildren(...people.map(function (person) {
      const option = document.createElement("option");
      option.value = label(person);
      return option;
    }));
  }

  /* Adds somebody whom the manifest does not know; their volumes have names of their own (`key`). */
  XAI.add = function (person) { people.push(person); listPeople(); };

  XAI.remove = function (key) {
    const found = people.findIndex(function (person) { return person.key === key; });
    if (found < 0) return;
    const shown = people[found] === XAI.shown;
    people.splice(found, 1);
    listPeople();
    if (shown) { now.mm = null; state.mm = ""; show(); }
  };

  XAI.open = function (id) { state.scan = id; state.fold = ""; show(); };

  async function start() {
    speak();
    byId("run-name").textContent = manifest.name;
    listPeople();
    const canvas = byId("gl");
    if (!document.createElement("canvas").getContext("webgl2")) { panels.message(panels.text("no_webgl")); return; }
    nv = new window.niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.3, 0.9, 0.4, 0.8], crosshairWidth: 1, crosshairWidthUnit: "mm", crosshairGap: 6, show3Dcrosshair: true,
      dragAndDropEnabled: false, logLevel: "error", isColorbar: false, onLocationChange: located, loadingText: "",
      showAllOrientationMarkers: true, viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", isNearestInterpolation: true,
    });
    nv.addColormap("xai-for", FOR);
    nv.addColormap("xai-against", AGAINST);
    await nv.attachToCanvas(canvas);
    XAI.lut = { positive: nv.colormap("xai-for"), negative: nv.colormap("xai-against") };
    XAI.nv = nv;
    listen();
    look();
    tell("xai-ready");
    await show();
  }

  start();
})();
