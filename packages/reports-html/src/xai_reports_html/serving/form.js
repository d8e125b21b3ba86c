"use strict";
/* The form: what is asked for. Everything from data is set as text, never as HTML. */
(function () {
  const XAI = window.XAI, byId = XAI.panels.byId, text = XAI.panels.text;
  let offer = null, files = [];

  function made(name, about, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(about || {})) {
      if (key in element && key !== "list") element[key] = value;
      else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  }

  function option(value, label) { return made("option", { value: String(value), textContent: label }); }

  /* By the id of a scan, or by the name of somebody who has one scan. */
  function person() {
    const typed = byId("serve-person").value;
    const same = offer.people.filter(function (one) { return one.subject === typed; });
    return offer.people.find(function (one) { return one.id === typed; }) || (same.length === 1 ? same[0] : undefined);
  }

  function names() { return offer.channels.map(function (name) { return name || text("serve_file"); }); }

  /* Builds what depends on the run; a change of language builds it anew and keeps what was chosen. */
  function build(given) {
    const first = offer === null;
    offer = given || offer;
    const kept = first ? null : read();
    byId("serve-people").replaceChildren(...offer.people.map(function (one) { return option(one.id, one.subject); }));
    byId("serve-fold").replaceChildren(...offer.folds.map(function (fold) { return option(fold, String(fold)); }));
    if (offer.folds.length > 1) byId("serve-fold").append(option("all", text("serve_fold_all")));
    byId("serve-target").replaceChildren(option("", text("serve_predicted")), ...(offer.classes || []).map(function (_, i) { return option("c" + i, offer.classes[i]); }));
    byId("serve-target").disabled = offer.classes === null;
    if (first) { buildExplainers(); buildFiles(); buildCovariates(); }
    if (kept) {
      byId("serve-fold").value = String(kept.fold);
      byId("serve-target").value = kept.target === null ? "" : "c" + offer.classes.indexOf(kept.target);
    }
    known();
    check();
  }

  function buildExplainers() {
    byId("serve-explainers").replaceChildren(...offer.explainers.map(function (name) {
      return made("label", { className: "serve-check" }, made("input", { type: "checkbox", value: name, checked: true, name: "explainer" }), made("span", { textContent: name }));
    }));
  }

  function buildFiles() {
    byId("serve-files").replaceChildren(...offer.channels.map(function (name, i) {
      const input = made("input", { type: "file", id: "serve-file-" + i, accept: ".nii,.gz" });
      input.addEventListener("change", function () { if (input.files.length) chose(i, input.files[0]); });
      const label = made("label", { htmlFor: input.id });
      if (name) label.textContent = name; else { label.dataset.text = "serve_file"; label.textContent = text("serve_file"); }
      return made("div", { className: "serve-row" }, label, input, made("span", { className: "help", id: "serve-name-" + i }));
    }));
  }

  function buildCovariates() {
    byId("serve-covariates").hidden = offer.covariates.length === 0;
    byId("serve-values").replaceChildren(...offer.covariates.map(function (one, i) {
      const id = "serve-value-" + i, help = made("span", { className: "help", id: id + "-help" });
      const input = made("input", { id: id, autocomplete: "off", maxLength: 200, "aria-describedby": help.id });
      const row = made("div", { className: "serve-row" }, made("label", { htmlFor: id, textContent: one.name }), input, help);
      if ("low" in one) input.inputMode = "decimal";
      else if (one.values.length) {
        input.setAttribute("list", id + "-list");
        row.append(made("datalist", { id: id + "-list" }, ...one.values.map(function (value) { return option(value, value); })));
      }
      return row;
    }));
  }

  function helps() {
    offer.covariates.forEach(function (one, i) {
      const range = "low" in one ? XAI.panels.number(one.low) + " - " + XAI.panels.number(one.high) : one.values.join(", ");
      byId("serve-value-" + i + "-help").textContent = range ? text("serve_range") + " " + range : "";
    });
  }

  /* What is known of the chosen person; a fold that has not seen them is proposed. */
  function known() {
    helps();
    const found = person(), typed = byId("serve-person").value;
    const theirs = offer.people.filter(function (one) { return one.subject === typed; });
    const none = theirs.length > 1 ? text("serve_several") + " " + theirs.map(function (one) { return one.id; }).join(", ") : typed ? text("serve_unknown") : "";
    const told = found ? (found.folds.length ? text("serve_unseen") + " " + found.folds.join(", ") : text("serve_all_seen")) : none;
    byId("serve-known").textContent = told;
    return found;
  }

  function choosePerson() {
    const found = known();
    if (!found) return;
    for (let i = 0; i < offer.channels.length; i++) clearFile(i);
    offer.covariates.forEach(function (one, i) {
      const value = found.covariates[one.name];
      byId("serve-value-" + i).value = value === null || value === undefined ? "" : String(value);
    });
    if (found.folds.length) byId("serve-fold").value = String(found.folds[0]);
  }

  function clearFile(i) {
    files[i] = null;
    byId("serve-file-" + i).value = "";
    byId("serve-name-" + i).textContent = "";
    check();
  }

  /* Covariates of the person before are nobody's now. */
  function chose(i, file) {
    if (byId("serve-person").value) {
      byId("serve-person").value = "";
      offer.covariates.forEach(function (_, j) { byId("serve-value-" + j).value = ""; });
      known();
    }
    files[i] = file;
    byId("serve-name-" + i).textContent = file.name;
    check();
  }

  /* The channel that a file's name tells, or -1. */
  function told(name) {
    const words = new Set(name.toLowerCase().replace(/\.nii(\.gz)?$/, "").split(/[^a-z0-9]+/));
    const found = offer.words.map(function (known, i) { return known.some(function (word) { return words.has(word); }) ? i : -1; });
    const those = found.filter(function (i) { return i >= 0; });
    return those.length === 1 ? those[0] : -1;
  }

  /* Files in the order of the channels: by their names where these tell it, or as they came. */
  function ordered(given) {
    const found = given.map(function (file) { return told(file.name); });
    const known = found.filter(function (i) { return i >= 0; });
    if (new Set(known).size !== known.length) return null; // two of one channel
    const result = new Array(given.length).fill(null), left = [];
    given.forEach(function (file, k) { if (found[k] >= 0) result[found[k]] = file; else left.push(file); });
    return result.map(function (file) { return file || left.shift(); });
  }

  /* Says of several files how sure their order is: two that change places give a map that looks right. */
  function check() {
    if (offer.channels.length < 2) return;
    let doubt = "";
    files.forEach(function (file, i) {
      const said = file ? told(file.name) : -1;
      if (said >= 0 && said !== i) doubt = file.name + ": " + text("serve_other_channel") + " " + offer.channels[said] + ".";
      else if (file && said < 0 && !doubt) doubt = text("serve_check_channels");
    });
    byId("serve-order").textContent = doubt;
  }

  function dropped(list) {
    const several = Array.from(list);
    if (several.length !== offer.channels.length) return text("serve_one_file") + " " + names().join(", ");
    const given = several.length > 1 ? ordered(several) : several;
    if (given === null) return text("serve_one_file") + " " + names().join(", ") + ". " + text("serve_same_channel");
    given.forEach(function (file, i) { byId("serve-file-" + i).value = ""; chose(i, file); });
    byId("serve").open = true;
    return "";
  }

  function read() {
    const fold = byId("serve-fold").value, target = byId("serve-target").value, values = {};
    offer.covariates.forEach(function (one, i) {
      const value = byId("serve-value-" + i).value.trim();
      if (value) values[one.name] = "low" in one ? value.replace(",", ".") : value;
    });
    return {
      person: person() ? person().id : null,
      covariates: values,
      fold: fold === "all" ? "all" : Number(fold),
      explainers: Array.from(document.querySelectorAll("#serve-explainers input:checked")).map(function (box) { return box.value; }),
      target: target === "" ? null : offer.classes[Number(target.slice(1))],
      allow: byId("serve-allow").checked,
    };
  }

  XAI.form = {
    build: build, read: read, dropped: dropped, choosePerson: choosePerson, made: made,
    files: function () { return offer.channels.map(function (_, i) { return files[i] || null; }); },
    limit: function () { return offer.limit; },
  };
})();
