"use strict";
/* The files of volumes. From disk they come as script elements, which a page opened there may load; from a server as bytes.
   Either way they are unpacked beside the page, which waits for the graphics meanwhile. */
(function () {
  const XAI = (window.XAI = window.XAI || {});
  const KEPT = 8; // volumes: going back and forth is quick, and the memory of a tab has an end
  const kept = new Map();
  const waiting = new Map(); // for scripts
  const pending = new Map(); // what the worker has not answered
  let asked = 0;

  XAI.receive = function (name, content) {
    const waits = waiting.get(name);
    waiting.delete(name); // it would keep the volume
    if (waits) unpack({ text: content.nifti, about: content.about, names: content.names }).then(waits.resolve, waits.reject);
  };

  /* A promise of a volume: its NIfTI `file`, what Python told of it (`about`), and `names` of labels. `arrived` of the
     promise says when the page need not do anything more for it. */
  function fetchVolume(name) {
    if (kept.has(name)) {
      const found = kept.get(name);
      kept.delete(name);
      kept.set(name, found);
      return found;
    }
    const promise = XAI.manifest.served ? unpack({ address: new URL("data/" + name + ".bin", document.baseURI).href }) : scripted(name);
    promise.arrived = promise.arrived || Promise.resolve();
    kept.set(name, promise);
    promise.catch(function () { kept.delete(name); });
    while (kept.size > KEPT) kept.delete(kept.keys().next().value);
    return promise;
  }

  function scripted(name) {
    let here;
    const arrived = new Promise(function (resolve) { here = resolve; });
    const promise = new Promise(function (resolve, reject) {
      waiting.set(name, { resolve: resolve, reject: reject });
      const script = document.createElement("script");
      script.src = "data/" + name + ".js";
      script.onload = function () { script.remove(); here(); };
      script.onerror = function () { script.remove(); here(); reject(new Error(name)); };
      document.head.appendChild(script);
    });
    promise.arrived = arrived;
    return promise;
  }

  /* In the page where the browser gives no worker. */
  function unpack(packed) {
    if (!helper) return unpacked(packed);
    return new Promise(function (resolve, reject) {
      const number = ++asked;
      pending.set(number, { packed: packed, resolve: resolve, reject: reject });
      helper.postMessage({ number: number, packed: packed });
    });
  }

  function worker() {
    const work = function (event) {
      const number = event.data.number;
      unpacked(event.data.packed).then(function (found) { self.postMessage({ number: number, found: found }, [found.file]); }, function (error) { self.postMessage({ number: number, reason: error.message }); });
    };
    const source = [unpacked, fetched, filled, unzipped, decoded, "self.onmessage = " + work].join("\n");
    let made;
    try { made = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))); } catch (_error) { return null; }
    made.onmessage = function (event) {
      const one = pending.get(event.data.number);
      pending.delete(event.data.number);
      if (event.data.found) one.resolve(event.data.found); else one.reject(new Error(event.data.reason));
    };
    made.onerror = function () { // a browser may also refuse later
      helper = null;
      for (const one of pending.values()) unpacked(one.packed).then(one.resolve, one.reject);
      pending.clear();
    };
    return made;
  }

  async function unpacked(packed) {
    if (packed.address) return filled(await fetched(packed.address));
    return { file: await unzipped(packed.text), about: packed.about, names: packed.names };
  }

  async function fetched(address) {
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(answer.headers.get("content-type") === "application/json" ? (await answer.json()).error : await answer.text());
    return answer.arrayBuffer();
  }

  /* What encoding.py sends (as_bytes): the length of a text, the text, then the file, of which only those voxels come that
     are not like the first: header, a bit for each voxel, values; each part from a multiple of 8 bytes on. */
  function filled(sent) {
    const next = function (place) { return 8 * Math.ceil(place / 8); };
    const length = new DataView(sent).getUint32(0, true), told = JSON.parse(new TextDecoder().decode(new Uint8Array(sent, 8, length)));
    const start = next(8 + length), header = 352, view = new DataView(sent, start), size = view.getInt16(72, true) / 8;
    const count = view.getInt16(42, true) * view.getInt16(44, true) * view.getInt16(46, true), bytes = Math.ceil(count / 8);
    const file = new ArrayBuffer(header + size * count), Kind = size === 2 ? Uint16Array : Uint32Array; // as they are
    const bits = new Uint8Array(sent, start + header, bytes), values = new Kind(sent, next(start + header + bytes)), voxels = new Kind(file, header);
    new Uint8Array(file).set(new Uint8Array(sent, start, header));
    voxels.fill(values[0]);
    for (let byte = 0, value = 0; byte < bytes; byte++)
      for (let left = bits[byte], voxel = 8 * byte; left; left >>= 1, voxel++) if (left & 1) voxels[voxel] = values[value++];
    return { file: file, about: told.about, names: told.names };
  }

  /* The bytes of a gzipped file in base64. */
  async function unzipped(text) {
    const bytes = Uint8Array.fromBase64 ? Uint8Array.fromBase64(text) : decoded(text);
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }

  function decoded(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = letters.charCodeAt(i);
    return bytes;
  }

  let helper = worker(); // it starts while the rest of the page is read
  XAI.files = { fetch: fetchVolume };
})();
