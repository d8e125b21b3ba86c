"use strict";
/* Volumes as NiiVue draws them, and as they are looked up in mm. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  // Places in a NIfTI-1 header (nifti1.h of the NIfTI working group).
  const DIM = 40, DATATYPE = 70, BITPIX = 72, PIXDIM = 76, VOX_OFFSET = 108, SCL_SLOPE = 112, SFORM_CODE = 254, SROW = 280, MAGIC = 344, HEADER = 352;
  const INT16 = 4, TYPES = { 4: Int16Array, 8: Int32Array, 16: Float32Array };

  /* A NiiVue volume; what Python told of it is under `about`. */
  async function load(name, options) {
    const content = await XAI.files.fetch(name);
    return made(content.file, content, Object.assign({ name: name + ".nii" }, options));
  }

  /* NiiVue reads a file of one voxel with the same header and then gets the voxels: it would look through all of them
     for limits that are known already. */
  async function made(file, content, options) {
    const view = new DataView(file), type = view.getInt16(DATATYPE, true), shape = content.about.shape;
    const values = new TYPES[type](file, view.getFloat32(VOX_OFFSET, true));
    const mould = file.slice(0, HEADER + 8);
    const header = new DataView(mould);
    for (let axis = 1; axis <= 3; axis++) header.setInt16(DIM + 2 * axis, 1, true);
    header.setFloat32(VOX_OFFSET, HEADER, true);
    const volume = await window.niivue.NVImage.loadFromUrl(Object.assign({ url: mould.slice(0, HEADER + values.BYTES_PER_ELEMENT) }, options));
    volume.hdr.dims.splice(1, 3, shape[0], shape[1], shape[2]);
    volume.nVox3D = values.length;
    volume.img = values;
    volume.calculateRAS();
    [volume.global_min, volume.global_max] = [volume.cal_min, volume.cal_max];
    volume.about = content.about;
    volume.names = content.names || {};
    volume.inverse = inverted(content.about.affine);
    return volume;
  }

  /* A black scan on the grid of a map, for one whose scan was not read from one file. */
  async function blank(map) {
    const shape = map.about.shape, file = new ArrayBuffer(HEADER + 2 * shape[0] * shape[1] * shape[2]);
    const view = new DataView(file);
    for (const [place, value] of [[0, 348], [DIM, 3], [DIM + 2, shape[0]], [DIM + 4, shape[1]], [DIM + 6, shape[2]], [DIM + 8, 1], [DATATYPE, INT16], [BITPIX, 16], [SFORM_CODE, 1]])
      if (place === 0) view.setInt32(place, value, true); else view.setInt16(place, value, true);
    view.setFloat32(VOX_OFFSET, HEADER, true);
    view.setFloat32(SCL_SLOPE, 1, true);
    map.about.affine.slice(0, 3).forEach(function (row, i) {
      view.setFloat32(PIXDIM + 4 * (i + 1), Math.hypot(map.about.affine[0][i], map.about.affine[1][i], map.about.affine[2][i]), true);
      row.forEach(function (value, j) { view.setFloat32(SROW + 16 * i + 4 * j, value, true); });
    });
    new Uint8Array(file).set([0x6e, 0x2b, 0x31], MAGIC);
    return made(file, { about: map.about }, { name: "blank.nii", colormap: "gray", cal_min: 0, cal_max: 1 });
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

  XAI.volumes = { load: load, blank: blank, inverted: inverted, transformed: transformed, valueAt: valueAt, regionAt: regionAt };
})();
