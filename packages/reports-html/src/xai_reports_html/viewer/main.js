"use strict";
/* Joins state, volumes, colours and panels to NiiVue. */
(function () {
  const XAI = window.XAI, panels = XAI.panels, byId = panels.byId, manifest = XAI.manifest, people = manifest.people, key = XAI.people.key;
  const state = XAI.state.read();
  const LAYOUTS = { planes: 3, axial: 0, coronal: 1, sagittal: 2, all: 3, render: 4 };
  const NEVER = 0, ALWAYS = 1; // the 3D rendering among the planes
  const AXES = { x: 0, y: 1, z: 2 };
  const SOON = 200; // ms
  const SETTLE = 250; // ms after the last change until clusters are listed and a slow 3D rendering follows
  const now = { scan: null, below: null, map: null, atlas: null, truth: null, mm: null, turn: 0 };
  let nv = null, settling = 0, frame = 0;

  /* For the parts of a page that are not the viewer's own. */
  function tell(name) { document.dispatchEvent(new CustomEvent(name)); }

  function label(person) { return person.several ? person.id + " (" + panels.text("fold") + " " + person.fold + ")" : person.id; }

  function current() { return XAI.people.current(state); }

  function region(person, mm) {
    if (!manifest.atlas || person.atlas === false) return panels.text("no_atlas");
    if (!now.atlas) return panels.text("loading");
    return XAI.volumes.regionAt(now.atlas, person, mm) || panels.text("no_region");
  }

  function draw() {
    if (frame) return;
    frame = window.requestAnimationFrame(function () { frame = 0; nv.drawScene(); });
  }

  /* A slider moved, or what is shown of the relevance is another. */
  function changed() {
    if (!now.map) return;
    XAI.relevance.apply(now.map, state);
    XAI.paint.moving = XAI.paint.slow;
    draw();
    window.clearTimeout(settling);
    settling = window.setTimeout(settled, SETTLE);
  }

  function settled() {
    XAI.state.write(state);
    if (!now.map) return;
    list();
    if (XAI.paint.moving) { XAI.paint.moving = false; draw(); }
  }

  function list() { XAI.relevance.list(now.map, state, people[current()], region, go); }

  function go(mm) {
    nv.scene.crosshairPos = nv.mm2frac(mm, 0, true); // true: mm of the header, also where the voxels are turned
    nv.drawScene();
    nv.createOnLocationChange();
  }

  /* By voxels of the scan: to the right, to the front, upwards. */
  function move(by) { if (now.map) nv.moveCrosshairInVox(by[0], by[1], by[2]); }

  function located(data) {
    const mm = Array.from(data.mm).slice(0, 3), person = people[current()];
    if (!person) return;
    now.mm = mm;
    const shown = person.to_mni ? XAI.volumes.transformed(person.to_mni, mm) : mm;
    panels.put("mm", shown.map(function (v) { return v.toFixed(1); }).join(", "));
    const about = (now.scan || now.map || {}).about;
    panels.put("voxel", about ? XAI.volumes.transformed(about.to_voxel, mm).map(Math.round).join(", ") : "");
    panels.put("value", now.map ? panels.number(XAI.volumes.valueAt(now.map, mm)) : "");
    panels.put("region", region(person, mm));
    if (now.map) panels.curve(now.map.about.slices, state.axis, XAI.volumes.transformed(now.map.inverse, mm)[AXES[state.axis]]);
    state.mm = mm.map(function (v) { return v.toFixed(2); }).join(",");
    XAI.state.later(state);
  }

  /* Shows the chosen person; what an earlier, slower choice still loads is thrown away. */
  async function show() {
    const turn = ++now.turn, number = current(), person = people[number];
    if (!person) { clear(); return; }
    const map = XAI.people.explainer(person, state), kept = XAI.state.place(state) || now.mm;
    const missing = XAI.people.missing(state);
    state.scan = person.id;
    state.fold = person.several ? String(person.fold) : "";
    state.explainer = manifest.explainers[map];
    byId("person").value = label(person);
    byId("explainer").replaceChildren(...person.maps.map(function (index) { return XAI.controls.option(manifest.explainers[index], manifest.explainers[index], index === map); }));
    XAI.shown = person;
    panels.decision(person, map);
    panels.report(person);
    panels.space();
    tell("xai-shown");
    panels.message(panels.text("loading"));
    loading(true);
    byId("clusters").tBodies[0].replaceChildren();
    let drawn = false;
    try {
      const found = await Promise.all(wanted(number, map).map(function (load) { return load && load(); }));
      if (turn !== now.turn) return;
      [now.scan, now.map, now.truth] = found;
      now.below = now.scan || (await XAI.volumes.blank(now.map));
      if (turn !== now.turn) return;
      if (now.scan) [now.scan.cal_min, now.scan.cal_max] = now.scan.about.window;
      [now.below.robust_min, now.below.robust_max] = [now.below.cal_min, now.below.cal_max]; // a double click leads back there
      if (now.truth) now.truth.paint = function () { return [0, 255, 0]; };
      panels.sides(state.convention, now.below);
      byId("truth").disabled = !now.truth;
      byId("atlas").disabled = !hasAtlas(person);
      XAI.relevance.apply(now.map, state);
      XAI.paint.held(stack);
      go(kept || XAI.relevance.peak(now.map, state));
      panels.message(missing ? missing + ": " + panels.text("not_here") : !now.scan ? panels.text("no_scan") : now.map.about.largest === 0 ? panels.text("empty") : "");
      loading(false);
      XAI.drawn = person.id;
      drawn = true;
      await rest(turn, number, person);
    } catch (error) {
      if (turn !== now.turn) return;
      if (drawn) list(); else forget();
      panels.message(panels.text("failed") + " " + error.message);
    }
  }

  /* Until the next person's picture is there, the last one's must not look like it. */
  function loading(yes) { byId("picture").classList.toggle("loading", yes); }

  /* What loads a person's scan, map and truth. */
  function wanted(number, map) {
    const person = people[number], load = function (name, colormap) { return function () { return XAI.volumes.load(key(number) + "-" + name, { colormap: colormap }); }; };
    return [person.scan ? load("scan", "gray") : null, load("m" + map, "xai-for"), person.truth ? load("truth", "green") : null];
  }

  /* After the first picture: the atlas, the clusters, and what the next person needs. */
  async function rest(turn, number, person) {
    await new Promise(function (resolve) { window.requestAnimationFrame(function () { window.setTimeout(resolve); }); });
    if (manifest.atlas && !now.atlas) {
      now.atlas = await XAI.volumes.load("atlas", {});
      now.atlas.paint = XAI.paint.hue(now.atlas);
    }
    if (turn !== now.turn) return;
    if (state.atlas && hasAtlas(person)) stack();
    here();
    list();
    XAI.state.write(state);
    XAI.ready = person.id;
    if (people.length > 1) XAI.people.fetched((number + 1) % people.length, state);
  }

  function hasAtlas(person) { return manifest.atlas && !person.to_mni && person.atlas !== false; }

  /* Nobody is there to be looked at. */
  function clear() {
    XAI.shown = null;
    forget();
    byId("person").value = "";
    panels.report({});
    for (const name of ["explainer", "decision"]) byId(name).replaceChildren();
    panels.message(panels.text("nobody"));
    tell("xai-shown");
  }

  /* Takes away the picture and its numbers: nobody's may stand below another one's name. */
  function forget() {
    now.scan = now.below = now.map = now.truth = null;
    loading(false);
    nv.volumes = [];
    nv.overlays = [];
    nv.drawScene();
    for (const name of ["mm", "voxel", "value", "region", "curve"]) byId(name).replaceChildren();
    byId("clusters").tBodies[0].replaceChildren();
  }

  /* The volumes in the order in which they lie over each other: the colours of an atlas do not change the relevance's. */
  function stack() {
    const volumes = [now.below];
    if (now.atlas && state.atlas && hasAtlas(people[current()])) { now.atlas.opacity = 0.35; volumes.push(now.atlas); }
    volumes.push(now.map);
    if (now.truth && state.truth) { now.truth.opacity = 0.45; volumes.push(now.truth); }
    // All at once: addVolume prepares everything anew for each of them.
    nv.volumes = volumes;
    nv.back = volumes[0];
    nv.overlays = volumes.slice(1);
    nv.updateGLVolume();
  }

  function step(by) {
    if (people.length === 0) return;
    const person = people[(current() + by + people.length) % people.length];
    state.scan = person.id;
    state.fold = String(person.fold);
    show();
  }

  function nextExplainer() {
    const person = people[current()];
    state.explainer = manifest.explainers[person.maps[(person.maps.indexOf(XAI.people.explainer(person, state)) + 1) % person.maps.length]];
    show();
  }

  function look() {
    const layout = state.layout || (XAI.programs.slow(nv.gl) ? "planes" : "all");
    byId("layout").value = layout;
    nv.opts.multiplanarShowRender = layout === "all" ? ALWAYS : NEVER;
    nv.opts.isRadiologicalConvention = state.convention === "radiological";
    nv.opts.isNearestInterpolation = !state.smooth;
    nv.setSliceType(LAYOUTS[layout]);
    nv.setInterpolation(!state.smooth);
    panels.sides(state.convention, now.below);
    const theme = state.theme || (window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
    document.documentElement.dataset.theme = theme;
    byId("theme").value = theme;
    XAI.state.write(state);
  }

  function here() { if (now.mm) go(now.mm); }

  function restack() {
    XAI.state.write(state);
    if (now.map) stack();
  }

  function speak() {
    XAI.controls.speak(state);
    panels.sides(state.convention, now.below);
    XAI.state.write(state);
    if (now.map) { XAI.relevance.apply(now.map, state); list(); here(); panels.decision(XAI.shown, XAI.people.explainer(XAI.shown, state)); }
    tell("xai-language");
  }

  function clicked(event) {
    if (!now.map || !now.mm) return;
    const voxel = XAI.volumes.transformed(now.map.inverse, now.mm);
    voxel[AXES[state.axis]] = panels.clicked(event, now.map.about.slices, state.axis);
    go(XAI.volumes.transformed(now.map.about.affine, voxel));
  }

  function choose(input) {
    const found = XAI.people.named(input.value, label);
    if (!found) { input.value = XAI.shown ? label(XAI.shown) : ""; return; }
    state.scan = found.id;
    state.fold = String(found.fold);
    show();
  }

  function restore() { Object.assign(state, XAI.state.read()); XAI.controls.speak(state); look(); show(); }

  function listPeople() { byId("people").replaceChildren(...people.map(function (person) { return XAI.controls.option(label(person)); })); }

  /* Adds somebody whom the manifest does not know; their volumes have names of their own (`key`). */
  XAI.add = function (person) { people.push(person); listPeople(); };

  XAI.remove = function (key) {
    const found = people.findIndex(function (person) { return person.key === key; });
    if (found < 0) return;
    const shown = people[found] === XAI.shown;
    people.splice(found, 1);
    listPeople();
    if (shown) { now.mm = null; state.mm = state.scan = state.fold = ""; show(); }
  };

  XAI.open = function (id) { state.scan = id; state.fold = ""; show(); };

  /* A graphics card that was reset (sleep, a driver's update) has lost every texture: the address restores the view. */
  function survive(canvas) {
    canvas.addEventListener("webglcontextlost", function (event) { event.preventDefault(); XAI.state.write(state); panels.message(panels.text("loading")); });
    canvas.addEventListener("webglcontextrestored", function () { window.location.reload(); });
  }

  async function start() {
    XAI.controls.speak(state);
    byId("run-name").textContent = manifest.name;
    listPeople();
    const canvas = byId("gl");
    panels.message(panels.text("loading"));
    await firstFiles();
    nv = new window.niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.3, 0.9, 0.4, 0.8], crosshairWidth: 1, crosshairWidthUnit: "mm", crosshairGap: 6, show3Dcrosshair: true,
      dragAndDropEnabled: false, logLevel: "error", isColorbar: false, onLocationChange: located, loadingText: "",
      showAllOrientationMarkers: true, viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "", isNearestInterpolation: true, multiplanarPadPixels: 24, isOrientCube: true,
    });
    XAI.programs.prepare(canvas);
    nv.drawScene = function () {}; // it would draw nothing, four times
    try { await nv.attachToCanvas(canvas); } catch (error) {
      if (canvas.getContext("webgl2")) throw error;
      panels.message(panels.text("no_webgl"));
      return;
    }
    survive(canvas);
    XAI.relevance.colours(nv);
    delete nv.drawScene;
    XAI.paint.attach(nv);
    const place = nv.createOnLocationChange;
    nv.createOnLocationChange = function (axis) { if (nv.volumes.length) place.call(nv, axis); };
    XAI.nv = nv;
    XAI.controls.listen({
      state: state, changed: changed, look: look, restack: restack, here: here, show: show, speak: speak, choose: choose, step: step,
      nextExplainer: nextExplainer, clicked: clicked, restore: restore, move: move,
    });
    XAI.paint.held(look);
    tell("xai-ready");
    await show();
  }

  /* NiiVue stops the page while it prepares itself, but not the unpacking of files that are there. */
  function firstFiles() {
    const soon = new Promise(function (resolve) { window.setTimeout(resolve, SOON); });
    return Promise.race([soon, Promise.all(XAI.people.first.map(function (file) { return file.arrived; }))]);
  }

  start();
})();
