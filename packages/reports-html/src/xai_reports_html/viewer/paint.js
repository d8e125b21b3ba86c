"use strict";
/* Colours of voxels. NiiVue colours every voxel of a volume anew whenever a limit changes, and computes gradients of the
   scan that no view here uses: seconds for a scan of 1 mm without a graphics card. Here only the planes on the screen are
   coloured when they are drawn, and the whole volume for the 3D rendering. NiiVue draws the textures as it always does. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const STEPS = 4096; // of a colour table
  const SLAB = 16; // slices coloured at once
  const SAME = 1e-3; // voxels by which two grids may differ and still count as one
  const PLANES = 12; // of each volume that are kept
  const FAINTEST = 2 / 256; // of the scale: what lies above its beginning has at least this colour
  const GREY_DARK = 0x00282828; // below relevance of neither sign; shows where colours fade out between voxels
  const MUTED = { drawArrays: null, texSubImage3D: null, framebufferTextureLayer: null, checkFramebufferStatus: 36053 };
  const back = target(0), over = target(2); // texture units on which NiiVue keeps scan and overlay
  let nv = null, original = null, holds = false, words = new Uint32Array(0);

  function target(unit) { return { unit: unit, texture: null, stamp: 0, whole: -1, done: [], layers: [] }; }

  /* Takes colouring over from NiiVue; what draws, and everything else that NiiVue keeps of a volume, stays. */
  function attach(niivue) {
    nv = niivue;
    original = { refreshLayers: nv.refreshLayers, drawScene: nv.drawScene };
    nv.refreshLayers = refreshLayers;
    nv.drawScene = function () {
      if (holds) return;
      draw();
      return original.drawScene.call(nv);
    };
  }

  /* Does something that draws on the way to what is to be seen, and leaves that to the last. */
  function held(something) {
    holds = true;
    try { something(); } finally { holds = false; }
  }

  function refreshLayers(volume, layer) {
    if (layer === 0) {
      const known = back.layers[0] && back.layers[0].volume === volume && nv.volumeTexture === back.texture;
      if (!known) prepare(volume, 0, back, "volumeTexture");
      back.layers = [greys(volume)];
      touch(back);
      return;
    }
    if (layer === 1) { prepare(volume, 1, over, "overlayTexture"); over.layers = []; }
    over.layers.push(volume.paint ? labels(volume) : Object.assign(grid(volume), { colour: colourMap }));
    touch(over);
  }

  /* Lets NiiVue make its texture and set what it draws with, without going through the voxels. */
  function prepare(volume, layer, of, name) {
    const gl = nv.gl, old = nv[name], own = Object.keys(MUTED).map(function (call) { return [call, gl[call]]; });
    for (const [call, answer] of Object.entries(MUTED)) gl[call] = function () { return answer; };
    try { original.refreshLayers.call(nv, volume, layer); } finally { for (const [call, before] of own) gl[call] = before; }
    if (old && old !== nv[name]) gl.deleteTexture(old);
    of.texture = nv[name];
    of.done = nv.back.dims.slice(1, 4).map(function (n) { return new Uint32Array(n); });
  }

  function touch(of) { of.stamp++; }

  /* Where a volume's voxels lie for a voxel of the scan. */
  function grid(volume) {
    const shape = volume.about.shape, own = volume.inverse, m = nv.back.matRAS; // matRAS: by rows
    const scan = [0, 1, 2].map(function (i) { return [m[4 * i], m[4 * i + 1], m[4 * i + 2], m[4 * i + 3]]; });
    const to = own.map(function (row) {
      return [0, 1, 2, 3].map(function (c) { return row[0] * scan[0][c] + row[1] * scan[1][c] + row[2] * scan[2][c] + (c === 3 ? row[3] : 0); });
    });
    const dims = nv.back.dims;
    let far = 0;
    for (const corner of [[0, 0, 0], [dims[1], 0, 0], [0, dims[2], 0], [0, 0, dims[3]]])
      XAI.volumes.transformed(to, corner).forEach(function (value, axis) { far = Math.max(far, Math.abs(value - corner[axis])); });
    const same = far < SAME && shape.every(function (n, axis) { return n === dims[axis + 1]; });
    return { volume: volume, img: volume.img, shape: shape, to: to, same: same, planes: new Map() };
  }

  /* Colour between two entries of a table of 256, as a graphics card reads it. */
  function entry(lut, share) {
    const place = Math.min(255, Math.max(0, share * 256 - 0.5)), low = Math.floor(place), high = Math.min(255, low + 1), part = place - low;
    const mixed = [0, 1, 2, 3].map(function (c) { return Math.round(lut[4 * low + c] * (1 - part) + lut[4 * high + c] * part); });
    return ((mixed[3] << 24) | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0]) >>> 0;
  }

  /* The scan: 16 bits, so that the table has a colour for each value that there is. */
  function greys(volume) {
    const lut = nv.colormap(volume.colormap), table = new Uint32Array(1 << 16), width = Math.max(1e-5, volume.cal_max - volume.cal_min);
    const grey = Uint32Array.from({ length: STEPS + 1 }, function (_, n) { return entry(lut, n / STEPS); });
    for (let raw = -32768; raw < 32768; raw++) {
      const share = (volume.hdr.scl_slope * raw + volume.hdr.scl_inter - volume.cal_min) / width;
      table[raw + 32768] = grey[share > 0 ? Math.round(Math.max(FAINTEST, Math.min(1, share)) * STEPS) : 0];
    }
    return Object.assign(grid(volume), { table: table, colour: colourScan });
  }

  /* Labels: the truth, an atlas; `paint` of the volume says their colours. */
  function labels(volume) {
    const alpha = Math.round(255 * volume.opacity), table = new Uint32Array(Math.max.apply(null, [0].concat(volume.about.labels)) + 1);
    for (const label of volume.about.labels) { const c = volume.paint(label); table[label] = ((alpha << 24) | (c[2] << 16) | (c[1] << 8) | c[0]) >>> 0; }
    return Object.assign(grid(volume), { table: table, colour: colourLabels });
  }

  /* How relevance is shown: threshold and limit in its units, signs, opacity (0 to 1), and the clusters that are large
     enough ({label, large}; null: no voxel is left out). */
  function relevance(ends, opacity, clusters) {
    if (!over.positive) [over.positive, over.negative] = [XAI.lut.positive, XAI.lut.negative].map(shades);
    over.ends = ends;
    over.alpha = (Math.round(255 * opacity) << 24) >>> 0;
    over.clusters = clusters;
    touch(over);
  }

  function shades(lut) {
    return Uint32Array.from({ length: STEPS }, function (_, n) { return entry(lut, Math.max(FAINTEST, (n + 0.5) / STEPS)) & 0xffffff; });
  }

  function colourMap(layer, found, first) {
    const values = found.values, count = values.length, ends = over.ends, threshold = ends.threshold, scale = STEPS / ends.limit, last = STEPS - 1;
    const label = over.clusters ? over.clusters.label : null, large = over.clusters ? over.clusters.large : null, indices = found.indices;
    const warm = over.positive, cold = over.negative, positive = ends.signs !== "negative", negative = ends.signs !== "positive", alpha = over.alpha;
    for (let n = 0; n < count; n++) {
      const value = values[n];
      if (value === 0) { if (first) words[n] = GREY_DARK; continue; }
      const strength = value > 0 ? value : -value, step = strength * scale;
      const colour = (value > 0 ? warm : cold)[step < last ? step | 0 : last];
      const shown = strength >= threshold && (value > 0 ? positive : negative) && (label === null || large[label[indices[n]]] === 1);
      if (first) words[n] = shown ? colour | alpha : colour;
      else if (shown) words[n] = laid(colour | alpha, words[n]);
    }
  }

  function colourLabels(layer, found, first) {
    const values = found.values, table = layer.table;
    for (let n = 0; n < values.length; n++) {
      const top = table[values[n]];
      if (first) words[n] = top || GREY_DARK;
      else if (top) words[n] = laid(top, words[n]);
    }
  }

  /* One colour over another (Porter and Duff), not multiplied by alpha, as NiiVue keeps them. */
  function laid(top, below) {
    const a = (top >>> 24) / 255, b = ((below >>> 24) / 255) * (1 - a), sum = a + b;
    if (sum === 0) return below;
    let mixed = Math.round(255 * sum) << 24;
    for (let shift = 0; shift < 24; shift += 8) mixed |= Math.round((((top >>> shift) & 255) * a + ((below >>> shift) & 255) * b) / sum) << shift;
    return mixed >>> 0;
  }

  function colourScan(layer, found) {
    const values = found.values, table = layer.table;
    for (let n = 0; n < values.length; n++) words[n] = table[values[n] + 32768];
  }

  /* Values of a volume in a box of the scan's voxels and their places in it; outside: 0 and -1. Planes are kept: while a
     slider moves they stay, and a sagittal one is scattered all over the memory. */
  function sampled(layer, from, size, plane) {
    const known = plane && layer.planes.get(plane);
    if (known) return known;
    const count = size[0] * size[1] * size[2], found = { indices: new Int32Array(count), values: new layer.img.constructor(count) };
    lookUp(layer, from, size, found.indices);
    for (let n = 0; n < count; n++) if (found.indices[n] >= 0) found.values[n] = layer.img[found.indices[n]];
    if (plane) {
      if (layer.planes.size >= PLANES) layer.planes.delete(layer.planes.keys().next().value);
      layer.planes.set(plane, found);
    }
    return found;
  }

  function lookUp(layer, from, size, indices) {
    const [nx, ny, nz] = layer.shape, to = layer.to;
    let n = 0;
    for (let k = from[2]; k < from[2] + size[2]; k++)
      for (let j = from[1]; j < from[1] + size[1]; j++) {
        if (layer.same) {
          for (let i = 0, index = from[0] + nx * (j + ny * k); i < size[0]; i++) indices[n++] = index++;
          continue;
        }
        for (let i = from[0]; i < from[0] + size[0]; i++) {
          const x = Math.round(to[0][0] * i + to[0][1] * j + to[0][2] * k + to[0][3]);
          const y = Math.round(to[1][0] * i + to[1][1] * j + to[1][2] * k + to[1][3]);
          const z = Math.round(to[2][0] * i + to[2][1] * j + to[2][2] * k + to[2][3]);
          indices[n++] = x < 0 || y < 0 || z < 0 || x >= nx || y >= ny || z >= nz ? -1 : x + nx * (y + ny * z);
        }
      }
  }

  /* Colours a box of voxels and sends it to the texture. */
  function fill(of, from, size, plane) {
    const count = size[0] * size[1] * size[2], gl = nv.gl;
    if (words.length < count) words = new Uint32Array(count);
    of.layers.forEach(function (layer, place) { layer.colour(layer, sampled(layer, from, size, plane), place === 0); });
    gl.activeTexture(gl.TEXTURE0 + of.unit);
    gl.bindTexture(gl.TEXTURE_3D, of.texture);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, from[0], from[1], from[2], size[0], size[1], size[2], gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(words.buffer, 0, 4 * count));
  }

  function fillWhole(of, dims) {
    for (let k = 0; k < dims[2]; k += SLAB) fill(of, [0, 0, k], [dims[0], dims[1], Math.min(SLAB, dims[2] - k)]);
    of.whole = of.stamp;
  }

  /* The planes on both sides of the crosshair: one of them is drawn, or what lies between them. */
  function fillPlanes(of, dims) {
    for (let axis = 0; axis < 3; axis++) {
      const place = nv.scene.crosshairPos[axis] * dims[axis] - 0.5;
      const sides = [Math.floor(place + SAME), Math.ceil(place - SAME)].map(function (p) { return Math.min(dims[axis] - 1, Math.max(0, p)); });
      for (const plane of new Set(sides)) {
        if (of.done[axis][plane] === of.stamp) continue;
        const from = [0, 0, 0], size = dims.slice();
        from[axis] = plane;
        size[axis] = 1;
        fill(of, from, size, axis + ":" + plane);
        of.done[axis][plane] = of.stamp;
      }
    }
  }

  function shows3D() {
    return nv.opts.sliceType === nv.sliceTypeRender || (nv.opts.sliceType === nv.sliceTypeMultiplanar && nv.opts.multiplanarShowRender === 1);
  }

  /* Whatever is about to be drawn has its colours. While a slider moves, a 3D rendering that takes long may wait. */
  function draw() {
    if (!nv.back || nv.volumes.length === 0) return;
    const dims = nv.back.dims.slice(1, 4);
    for (const of of [back, over]) {
      if (of.layers.length === 0 || of.whole === of.stamp) continue;
      if (of === over && nv.volumes.length < 2) continue;
      const start = performance.now();
      if (shows3D() && !api.moving) { fillWhole(of, dims); api.slow = performance.now() - start > api.frame; } else fillPlanes(of, dims);
    }
  }

  /* Colours of an atlas' labels, by the golden angle: neighbours differ. */
  function hue(atlas) {
    const order = new Map(Object.keys(atlas.names).map(Number).sort(function (a, b) { return a - b; }).map(function (value, place) { return [value, place]; }));
    return function (value) {
      const angle = (order.get(value) * 137.508) % 360;
      return [0, 8, 4].map(function (n) { const k = (n + angle / 30) % 12; return Math.round(255 * (0.55 - 0.4 * Math.max(-1, Math.min(k - 3, 9 - k, 1)))); });
    };
  }

  const api = (XAI.paint = { attach: attach, held: held, hue: hue, relevance: relevance, moving: false, slow: false, frame: 40 });
})();
