"use strict";
/* What is looked at and how. It lives in the address, so that a link restores the view. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const defaults = {
    scan: "", fold: "", explainer: "", shown: true, scaling: "percentile", threshold: 950, limit: 999, opacity: 90,
    cluster: 0, signs: "both", layout: "", convention: "neurological", smooth: false, atlas: false, truth: false,
    axis: "z", theme: "", language: "", mm: "",
  };
  const choices = {
    scaling: ["percentile", "absolute"], signs: ["both", "positive", "negative"], axis: ["x", "y", "z"],
    layout: ["", "planes", "all", "sagittal", "coronal", "axial", "render"], convention: ["neurological", "radiological"],
    theme: ["", "dark", "light"],
  };
  const PAUSE = 200; // ms
  let waiting = 0;
  const ranges = { threshold: [0, 1000], limit: [1, 1000], opacity: [0, 100], cluster: [0, 100] };

  /* Whatever an address says, the state is one that the page can show. */
  function read() {
    const state = Object.assign({}, defaults);
    const given = new URLSearchParams(window.location.hash.slice(1));
    for (const [name, text] of given) {
      if (!Object.prototype.hasOwnProperty.call(defaults, name)) continue;
      if (typeof defaults[name] === "boolean") state[name] = text === "1";
      else if (name in ranges) {
        const number = Number(text);
        if (Number.isFinite(number)) state[name] = Math.min(ranges[name][1], Math.max(ranges[name][0], Math.round(number)));
      } else if (!(name in choices) || choices[name].includes(text)) state[name] = text;
    }
    return state;
  }

  function address(state) {
    const given = new URLSearchParams();
    for (const name of Object.keys(defaults)) {
      const value = state[name];
      if (value !== defaults[name]) given.set(name, typeof value === "boolean" ? (value ? "1" : "0") : String(value));
    }
    return "#" + given.toString();
  }

  function write(state) {
    window.clearTimeout(waiting);
    window.history.replaceState(null, "", address(state));
  }

  /* For what changes with every move of the mouse: browsers allow 200 addresses in 30 seconds. */
  function later(state) {
    window.clearTimeout(waiting);
    waiting = window.setTimeout(function () { write(state); }, PAUSE);
  }

  function place(state) {
    const parts = state.mm.split(",").map(Number);
    return parts.length === 3 && parts.every(Number.isFinite) ? parts : null;
  }

  XAI.state = { read: read, write: write, later: later, address: address, place: place };
})();
