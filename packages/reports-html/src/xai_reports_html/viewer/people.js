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
      const file = XAI.volumes.fetch(key(number) + "-" + name);
      file.catch(function () {}); // told when it is to be shown
      return file;
    });
  }

  XAI.people = { all: people, key: key, current: current, explainer: explainer, fetched: fetched };
  const state = XAI.state.read();
  XAI.people.first = fetched(current(state), state);
})();
