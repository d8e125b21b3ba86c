"use strict";
/* Volumes: loaded by script elements, which also work for a page opened from disk, and looked up in mm. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const waiting = new Map();
  const KEPT = 12; // volumes: going back and forth is quick, and the memory of a tab has an end
  const kept = new Map();

  XAI.receive = function (name, content) {
    const waits = waiting.get(name);
    if (waits) waits.resolve(content);
  };

  XAI.refuse = function (name, reason) {
    const waits = waiting.get(name);
    if (waits) waits.reject(new Error(reason));
  };

  function fetchVolume(name) {
    if (kept.has(name)) {
      const found = kept.get(name);
      kept.delete(name);
      kept.set(name, found);
      return found;
    }
    const promise = new Promise(function (resolve, reject) {
      waiting.set(name, { resolve: resolve, reject: reject });
      const script = document.createElement("script");
      script.src = "data/" + name + ".js";
      script.onload = function () { script.remove(); };
      script.onerror = function () { script.remove(); reject(new Error(name)); };
      document.head.appendChild(script);
    });
    kept.set(name, promise);
    promise.catch(function () { kept.delete(name); });
    while (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return promise;
  }

  /* A NiiVue volume; what Python told of it is under `about`. */
  async function load(name, options) {
    const content = await fetchVolume(name);
    const volume = await window.niivue.NVImage.loadFromBase64(
      Object.assign({ base64: content.nifti, name: name + ".nii.gz" }, options)
    );
    if (!volume) throw new Error(name);
    volume.about = content.about;
    volume.names = content.names || {};
    volume.inverse = inverted(content.about.affine);
    return volume;
  }

  function transformed(matrix, point) {
    return [0, 1, 2].map(function (row) {
      const m = matrix[row];
      return m[0] * point[0] + m[1] * point[1] + m[2] * point[2] + m[3];
    });
  }

  /* Inverse of a 4 x 4 matrix whose last row is 0 0 0 1. */
  function inverted(matrix) {
    const [a, b, c] = matrix[0], [d, e, f] = matrix[1], [g, h, i] = matrix[2];
    const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
    const m = [
      [(e * i - f * h) / det, (c * h - b * i) / det, (b * f - c * e) / det],
      [(f * g - d * i) / det, (a * i - c * g) / det, (c * d - a * f) / det],
      [(d * h - e * g) / det, (b * g - a * h) / det, (a * e - b * d) / det],
    ];
    const t = [matrix[0][3], matrix[1][3], matrix[2][3]];
    return m.map(function (row) { return row.concat(-(row[0] * t[0] + row[1] * t[1] + row[2] * t[2])); });
  }

  /* Value of the voxel that holds a place, or null outside of the volume. */
  function valueAt(volume, mm, values) {
    const index = transformed(volume.inverse, mm).map(Math.round);
    const shape = volume.about.shape;
    for (let axis = 0; axis < 3; axis++) if (index[axis] < 0 || index[axis] >= shape[axis]) return null;
    return (values || volume.img)[index[0] + shape[0] * (index[1] + shape[1] * index[2])];
  }

  function regionAt(atlas, person, mm) {
    const place = person.to_mni ? transformed(person.to_mni, mm) : mm;
    const label = valueAt(atlas, place);
    if (label === null || label === 0) return null;
    return atlas.names[String(label)] || String(label);
  }

  XAI.volumes = { load: load, transformed: transformed, valueAt: valueAt, regionAt: regionAt };
})();
