"use strict";
/* Clusters: voxels above the threshold, of one sign, that share a face. */
(function () {
  const XAI = (window.XAI = window.XAI || {});

  /* Returns {label: Int32Array (0: below), found: [{voxels, peak, at}]}; clusters in the order of their first voxel. */
  function labelled(values, shape, threshold, signs) {
    const nx = shape[0], nxy = shape[0] * shape[1], n = values.length;
    const label = new Int32Array(n);
    const found = [];
    const stack = new Int32Array(1 << 16);
    let more = []; // where the stack overflows
    function inside(index, sign) {
      const value = values[index] * sign;
      return value > 0 && value >= threshold;
    }
    for (let start = 0; start < n; start++) {
      if (label[start] !== 0) continue;
      const first = values[start];
      if (first === 0 || first !== first) continue;
      const sign = first > 0 ? 1 : -1;
      if ((sign > 0 && signs === "negative") || (sign < 0 && signs === "positive") || !inside(start, sign)) continue;
      const cluster = { voxels: 0, peak: first, at: start };
      found.push(cluster);
      const number = found.length;
      let depth = 0;
      label[start] = number;
      stack[depth++] = start;
      while (depth > 0 || more.length > 0) {
        const index = depth > 0 ? stack[--depth] : more.pop();
        cluster.voxels++;
        if (values[index] * sign > cluster.peak * sign) { cluster.peak = values[index]; cluster.at = index; }
        const i = index % nx, j = Math.floor((index % nxy) / nx), k = Math.floor(index / nxy);
        const next = [
          i > 0 ? index - 1 : -1, i < shape[0] - 1 ? index + 1 : -1,
          j > 0 ? index - nx : -1, j < shape[1] - 1 ? index + nx : -1,
          k > 0 ? index - nxy : -1, k < shape[2] - 1 ? index + nxy : -1,
        ];
        for (const other of next) {
          if (other < 0 || label[other] !== 0 || !inside(other, sign)) continue;
          label[other] = number;
          if (depth < stack.length) stack[depth++] = other; else more.push(other);
        }
      }
    }
    return { label: label, found: found };
  }

  /* The map without what is below the threshold or in a cluster of fewer voxels than `smallest`. */
  function kept(values, clusters, smallest) {
    const shown = new Float32Array(values.length);
    const large = clusters.found.map(function (cluster) { return cluster.voxels >= smallest; });
    for (let index = 0; index < values.length; index++) {
      const number = clusters.label[index];
      if (number !== 0 && large[number - 1]) shown[index] = values[index];
    }
    return shown;
  }

  function place(index, shape) {
    const nx = shape[0], nxy = shape[0] * shape[1];
    return [index % nx, Math.floor((index % nxy) / nx), Math.floor(index / nxy)];
  }

  XAI.clusters = { labelled: labelled, kept: kept, place: place };
})();
