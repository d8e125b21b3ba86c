"use strict";
/* Clusters: voxels above the threshold, of one sign, that share a face. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const BUCKETS = 1 << 15; // the sign is left out; exponent and the first 7 bits of the mantissa

  /* Prepares a map (Float32Array): voxels that are not zero, the strongest first, so that a threshold takes the first
     ones. Bits of a positive float, read as a whole number, keep its order. */
  function prepared(values, shape) {
    const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
    const ends = new Uint32Array(BUCKETS + 1);
    for (let i = 0; i < bits.length; i++) if ((bits[i] << 1) !== 0) ends[BUCKETS - 1 - ((bits[i] & 0x7fffffff) >>> 16)]++;
    let sum = 0;
    const next = new Uint32Array(BUCKETS);
    for (let b = 0; b < BUCKETS; b++) { next[b] = sum; sum += ends[b]; ends[b] = sum; }
    const order = new Uint32Array(sum);
    for (let i = 0; i < bits.length; i++) if ((bits[i] << 1) !== 0) order[next[BUCKETS - 1 - ((bits[i] & 0x7fffffff) >>> 16)]++] = i;
    return { values: values, shape: shape, order: order, ends: ends, label: new Int32Array(values.length), used: 0, stack: new Int32Array(1 << 12) };
  }

  /* How many voxels of the order may reach the threshold. */
  function reach(of, threshold) {
    const float = new Float32Array([Math.max(0, threshold)]);
    return of.ends[BUCKETS - 1 - (new Uint32Array(float.buffer)[0] >>> 16)];
  }

  /* Returns [{voxels, peak, at}], the largest first; `of.label` then holds their numbers from 1 (0: below). */
  function labelled(of, threshold, signs) {
    const values = of.values, order = of.order, label = of.label, found = [];
    for (let n = 0; n < of.used; n++) label[order[n]] = 0;
    of.used = reach(of, threshold);
    for (let n = 0; n < of.used; n++) {
      const start = order[n], sign = values[start] > 0 ? 1 : -1;
      if (label[start] !== 0 || values[start] * sign < threshold) continue;
      if ((sign > 0 && signs === "negative") || (sign < 0 && signs === "positive")) continue;
      found.push(filled(of, start, sign, threshold, found.length + 1));
    }
    return found;
  }

  function filled(of, start, sign, threshold, number) {
    const values = of.values, label = of.label, [nx, ny, nz] = of.shape, nxy = nx * ny;
    const steps = [-1, 1, -nx, nx, -nxy, nxy], cluster = { number: number, voxels: 0, peak: values[start], at: start };
    let stack = of.stack, depth = 1;
    stack[0] = start;
    label[start] = number;
    while (depth > 0) {
      if (depth + steps.length > stack.length) { stack = new Int32Array(2 * stack.length); stack.set(of.stack); of.stack = stack; }
      const index = stack[--depth], strength = values[index] * sign, best = cluster.peak * sign;
      cluster.voxels++;
      if (strength > best || (strength === best && index < cluster.at)) { cluster.peak = values[index]; cluster.at = index; }
      const k = (index / nxy) | 0, rest = index - k * nxy, j = (rest / nx) | 0, i = rest - j * nx;
      for (let d = 0; d < 6; d++) {
        if ((d === 0 && i === 0) || (d === 1 && i === nx - 1) || (d === 2 && j === 0) || (d === 3 && j === ny - 1) || (d === 4 && k === 0) || (d === 5 && k === nz - 1)) continue;
        const other = index + steps[d];
        if (label[other] !== 0) continue;
        const value = values[other] * sign;
        if (value >= threshold && value > 0) { label[other] = number; stack[depth++] = other; }
      }
    }
    return cluster;
  }

  /* For each label, 1 where its cluster has at least `smallest` voxels. */
  function large(found, smallest) {
    const kept = new Uint8Array(found.length + 1);
    for (const cluster of found) if (cluster.voxels >= smallest) kept[cluster.number] = 1;
    return kept;
  }

  function place(index, shape) {
    const nx = shape[0], nxy = shape[0] * shape[1];
    return [index % nx, Math.floor((index % nxy) / nx), Math.floor(index / nxy)];
  }

  XAI.clusters = { prepared: prepared, labelled: labelled, large: large, place: place };
})();
