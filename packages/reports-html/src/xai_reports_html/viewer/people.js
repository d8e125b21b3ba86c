"use strict";
/* Who there is, and whose files are asked for. The first person's come while the rest of the page is still read. */
(function () {
  const XAI = window.XAI, manifest = XAI.manifest, people = manifest.people;

  for (const person of people) person.several = people.filter(function (other) { return other.id === person.id; }).length > 1;

  /* The beginning of the names of a person's volumes. */
  function key(number) { return people[number].key || "p" + number; }

  /* Index of the person of a state. */
  function current(state) {
    const found = people.findIndex(function (p) { return p.id === state.scan && (state.fold === "" || String(p.fold) === state.fold); });
    return found < 0 ? 0 : found;
  }

  /* Whom an address asks for in vain: somebody else is shown then, which must be told. */
  function missing(state) {
    const found = people[current(state)];
    if (!found || state.scan === "" || (found.id === state.scan && (state.fold === "" || String(found.fold) === state.fold))) return "";
    return state.scan + (state.fold === "" ? "" : " (" + XAI.panels.text("fold") + " " + state.fold + ")");
  }

  /* Whom a text names. What the list offers (`label`) comes first: an id may be somebody else's name. */
  function named(text, label) {
    return [label, function (person) { return person.id; }, function (person) { return person.subject; }]
      .map(function (name) { return people.find(function (person) { return name(person) === text; }); }).find(Boolean);
  }

  /* Index of the explainer that is shown of a person: the chosen one if it explained them. */
  function explainer(person, state) {
    const wanted = manifest.explainers.indexOf(state.explainer);
    return person.maps.includes(wanted) ? wanted : person.maps[0];
  }

  /* Asks for the files of somebody's scan and map. */
  function fetched(number, state) {
    const person = people[number];
    if (!person) return [];
    return [person.scan ? "scan" : null, "m" + explainer(person, state)].filter(Boolean).map(function (name) {
      const file = XAI.files.fetch(key(number) + "-" + name);
      file.catch(function () {}); // told when it is to be shown
      return file;
    });
  }

  XAI.people = { all: people, key: key, current: current, missing: missing, named: named, explainer: explainer, fetched: fetched };
  const state = XAI.state.read();
  XAI.people.first = fetched(current(state), state);
})();
