"use strict";
/* How relevance is shown: limits, signs, clusters. */
(function () {
  const XAI = window.XAI, panels = XAI.panels;
  // Dark to light away from zero, as in the report; the first entry is what lies below the threshold.
  const FOR = { R: [153, 153, 245, 255], G: [5, 5, 92, 237], B: [13, 13, 13, 89], A: [0, 255, 255, 255], I: [0, 1, 128, 255] };
  const AGAINST = { R: [20, 20, 13, 166], G: [26, 26, 128, 250], B: [158, 158, 242, 255], A: [0, 255, 255, 255], I: [0, 1, 128, 255] };
  const LISTED = 200; // clusters whose regions are looked up

  function colours(nv) {
    nv.addColormap("xai-for", FOR);
    nv.addColormap("xai-against", AGAINST);
    XAI.lut = { positive: nv.colormap("xai-for"), negative: nv.colormap("xai-against") };
  }

  /* Where the colours begin and end, in the map's own units. */
  function ends(map, state) {
    const about = map.about;
    const value = function (step) {
      return state.scaling === "percentile" ? about.quantiles[step] : (about.largest * step) / 1000;
    };
    const threshold = value(state.threshold), limit = Math.max(value(state.limit), value(state.threshold));
    return { threshold: threshold, limit: limit > 0 ? limit : 1, signs: state.signs };
  }

  /* Colours follow every step of a slider; so do clusters where small ones are left out, and only there. */
  function apply(map, state) {
    const found = ends(map, state), large = state.cluster > 1 ? XAI.clusters.large(clusters(map, state), state.cluster) : null;
    const kept = large && { label: map.prepared.label, large: large };
    XAI.paint.relevance(found, state.shown ? state.opacity / 100 : 0, kept);
    panels.colourBar(XAI.lut, found);
    labels(state, found);
  }

  function labels(state, found) {
    const percent = function (step) { return (step / 10).toFixed(1) + " %"; };
    const absolute = state.scaling === "absolute";
    panels.put("threshold-value", absolute ? panels.number(found.threshold) : percent(state.threshold));
    panels.put("limit-value", absolute ? panels.number(found.limit) : percent(state.limit));
    panels.put("opacity-value", state.opacity + " %");
    panels.put("cluster-value", state.cluster + " " + panels.text("voxel"));
  }

  /* Clusters depend on threshold and signs alone. */
  function clusters(map, state) {
    const threshold = ends(map, state).threshold, known = map.known;
    if (known && known.threshold === threshold && known.signs === state.signs) return known.found;
    if (!map.prepared) map.prepared = XAI.clusters.prepared(map.img, map.about.shape);
    map.known = { threshold: threshold, signs: state.signs, found: XAI.clusters.labelled(map.prepared, threshold, state.signs) };
    return map.known.found;
  }

  /* The table of clusters; `named` says the region at a place, `go` leads there. */
  function list(map, state, person, named, go) {
    const m = map.about.affine;
    const size = Math.abs(
      m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
        m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    );
    const rows = clusters(map, state)
      .filter(function (cluster) { return cluster.voxels >= Math.max(1, state.cluster); })
      .sort(function (a, b) { return b.voxels - a.voxels || a.at - b.at; })
      .slice(0, LISTED)
      .map(function (cluster) {
        const mm = XAI.volumes.transformed(m, XAI.clusters.place(cluster.at, map.about.shape));
        const place = person.to_mni ? XAI.volumes.transformed(person.to_mni, mm) : mm;
        return { volume: cluster.voxels * size, peak: cluster.peak, mm: place, go: mm, region: named(person, mm) };
      });
    panels.clusterTable(rows, function (shown) { go(rows.find(function (row) { return row.mm === shown; }).go); });
  }

  /* The strongest voxel of the signs that are shown, in mm; the middle of an empty map. */
  function peak(map, state) {
    const about = map.about, shown = ["positive", "negative"].filter(function (sign) { return (state.signs === "both" || state.signs === sign) && about.peaks[sign]; });
    const strength = function (sign) { return Math.abs(about.peaks[sign].value); };
    shown.sort(function (a, b) { return strength(b) - strength(a); });
    const index = shown.length ? about.peaks[shown[0]].at : about.shape.map(function (n) { return Math.floor(n / 2); });
    return XAI.volumes.transformed(about.affine, index);
  }

  XAI.relevance = { colours: colours, ends: ends, apply: apply, list: list, peak: peak };
})();
