"use strict";
/* Sliders, boxes, keys and languages: what they change in the state of the view. */
(function () {
  const XAI = window.XAI, panels = XAI.panels, byId = panels.byId;
  const LAYOUTS = ["planes", "axial", "coronal", "sagittal", "all", "render"];
  const STEP = 5; // of a key, in thousandths
  const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1], PageDown: [2, -1], PageUp: [2, 1] };
  const ACROSS = { sagittal: [1, 2, 0], coronal: [0, 2, 1] }; // axes of the picture: to the right, upwards, through it

  function fill(state) {
    for (const name of ["scaling", "signs", "convention", "axis"]) byId(name).value = state[name];
    for (const name of ["threshold", "limit", "opacity", "cluster"]) byId(name).value = state[name];
    for (const name of ["shown", "smooth", "atlas", "truth"]) byId(name).checked = state[name];
    byId("language").value = XAI.language;
  }

  /* `view` is what main.js offers. */
  function listen(view) {
    const state = view.state;
    const on = function (name, event, act) { byId(name).addEventListener(event, act); };
    for (const name of ["threshold", "limit", "opacity", "cluster"])
      on(name, "input", function (event) { state[name] = Number(event.target.value); view.changed(); });
    for (const name of ["scaling", "signs"])
      on(name, "change", function (event) { state[name] = event.target.value; view.changed(); });
    on("shown", "change", function (event) { state.shown = event.target.checked; view.changed(); });
    for (const name of ["layout", "convention", "theme"])
      on(name, "change", function (event) { state[name] = event.target.value; view.look(); });
    on("smooth", "change", function (event) { state.smooth = event.target.checked; view.look(); });
    for (const name of ["atlas", "truth"])
      on(name, "change", function (event) { state[name] = event.target.checked; view.restack(); });
    on("axis", "change", function (event) { state.axis = event.target.value; view.here(); });
    on("explainer", "change", function (event) { state.explainer = event.target.value; view.show(); });
    on("language", "change", function (event) { state.language = event.target.value; view.speak(); });
    on("person", "change", function (event) { view.choose(event.target); });
    on("previous", "click", function () { view.step(-1); });
    on("next", "click", function () { view.step(1); });
    on("curve", "click", view.clicked);
    on("link", "click", function () { copyLink(state); });
    document.addEventListener("keydown", function (event) { pressed(view, event); });
    // NiiVue has keys of its own: some would do something else beside what is told of them here.
    byId("gl").parentElement.addEventListener("keydown", function (event) { if (event.target === byId("gl")) moved(view, event); }, true);
    window.addEventListener("hashchange", view.restore);
  }

  async function copyLink(state) {
    XAI.state.write(state);
    try { await navigator.clipboard.writeText(window.location.href); byId("link").textContent = panels.text("copied"); }
    catch (_error) { window.prompt(panels.text("link"), window.location.href); }
  }

  /* In a picture that has the focus. */
  function moved(view, event) {
    const own = KEYS[event.key];
    event.stopPropagation();
    if (!own || !XAI.shown || event.ctrlKey || event.metaKey || event.altKey) { pressed(view, event); return; }
    event.preventDefault();
    const axis = (ACROSS[byId("layout").value] || [0, 1, 2])[own[0]], by = [0, 0, 0];
    by[axis] = axis === 0 && own[0] === 0 && view.state.convention === "radiological" ? -own[1] : own[1];
    view.move(by);
  }

  function pressed(view, event) {
    const typing = ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName) && event.target.type !== "checkbox" && event.target.type !== "range";
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !XAI.shown) return;
    const state = view.state;
    const keys = {
      n: function () { view.step(1); },
      p: function () { view.step(-1); },
      e: view.nextExplainer,
      r: function () { state.shown = !state.shown; fill(state); view.changed(); },
      c: function () { state.convention = state.convention === "radiological" ? "neurological" : "radiological"; fill(state); view.look(); },
      l: function () { state.layout = LAYOUTS[(LAYOUTS.indexOf(byId("layout").value) + 1) % LAYOUTS.length]; view.look(); },
      "+": function () { state.threshold = Math.min(1000, state.threshold + STEP); fill(state); view.changed(); },
      "-": function () { state.threshold = Math.max(0, state.threshold - STEP); fill(state); view.changed(); },
    };
    if (Object.prototype.hasOwnProperty.call(keys, event.key)) { event.preventDefault(); keys[event.key](); }
  }

  function speak(state) {
    const codes = Object.keys(XAI.locales);
    const asked = state.language || (navigator.language || "en").slice(0, 2);
    XAI.language = codes.includes(asked) ? asked : "en";
    byId("language").replaceChildren(...codes.map(function (code) { return option(code, XAI.locales[code].language); }));
    panels.translate();
    fill(state);
  }

  function option(value, label, selected) {
    const made = document.createElement("option");
    made.value = value;
    if (label !== undefined) made.textContent = label;
    made.selected = Boolean(selected);
    return made;
  }

  XAI.controls = { fill: fill, listen: listen, speak: speak, option: option };
})();
