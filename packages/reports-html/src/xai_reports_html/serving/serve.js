"use strict";
/* Sends the form, follows the queue, and gives what was found to the viewer. */
(function () {
  const XAI = window.XAI, form = XAI.form, byId = XAI.panels.byId, text = XAI.panels.text, made = form.made;
  const SESSION = document.querySelector("meta[name=xai-session]").content;
  const FOLD = "fold"; // what the framework calls the first level of an ensemble
  const PAUSE = 500; // ms between two questions while something is computed
  const shown = new Map(); // results by the key of their volumes
  let own = null, jobs = [], failure = null, asking = false, sending = null;

  async function ask(path, options) {
    let answer;
    try { answer = await fetch(path, Object.assign({ headers: { "x-xai-session": SESSION } }, options)); }
    catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error(text("serve_unreachable"));
    }
    if (answer.status === 204) return null;
    const type = answer.headers.get("content-type") || "";
    const content = type.startsWith("application/json") ? await answer.json() : { error: (await answer.text()).trim() };
    if (!answer.ok) throw new Error(content.error || String(answer.status));
    return content;
  }

  async function send(event) {
    event.preventDefault();
    if (sending) return;
    const wanted = form.read(), files = form.files();
    tell(null);
    if (byId("serve-person").value && !wanted.person) { tell({ key: "serve_unknown" }); return; }
    if (!wanted.person && files.some(function (file) { return !file; })) { tell({ key: "serve_nothing" }); return; }
    if (wanted.explainers.length === 0) { tell({ key: "serve_explainers" }); return; }
    sending = new AbortController();
    byId("serve-go").disabled = true;
    progress();
    try {
      if (!wanted.person) wanted.uploads = await uploaded(files);
      own = (await ask("api/jobs", { method: "POST", body: JSON.stringify(wanted) })).id;
    } catch (error) {
      if (error.name !== "AbortError") tell({ message: error.message });
    }
    sending = null;
    byId("serve-go").disabled = false;
    progress();
    follow();
  }

  async function uploaded(files) {
    const found = [];
    for (const file of files) {
      if (file.size > form.limit()) throw new Error(text("serve_too_large") + " " + Math.floor(form.limit() / 1e6));
      const path = "api/uploads?name=" + encodeURIComponent(file.name);
      found.push((await ask(path, { method: "POST", body: file, signal: sending.signal })).id);
    }
    return found;
  }

  function tell(found) {
    failure = found;
    const element = byId("serve-error");
    element.hidden = found === null;
    element.replaceChildren();
    if (found === null) return;
    if (found.key) element.append(text(found.key));
    if (found.message) element.append(made(found.key ? "p" : "span", { className: found.key ? "help" : "", textContent: found.message }));
  }

  function job() { return jobs.find(function (one) { return one.id === own; }); }

  function active() { return jobs.some(function (one) { return one.state === "waiting" || one.state === "running"; }); }

  function progress() {
    const mine = job(), busy = mine && (mine.state === "waiting" || mine.state === "running");
    const asked = own !== null && !mine; // taken, and the queue has not been read since
    byId("serve-progress").hidden = !busy && !sending && !asked;
    if (sending) { set("serve-step", text("serve_state_sending")); set("serve-far", ""); byId("serve-bar").removeAttribute("value"); return; }
    if (!busy) return;
    const waiting = jobs.filter(function (one) { return one.state === "waiting"; }).length;
    const step = mine.state === "waiting" ? text("serve_state_waiting") + " " + mine.ahead : text("serve_step_" + mine.step) + " …";
    set("serve-step", step + (mine.state === "running" && waiting ? " (" + text("serve_waiting") + " " + waiting + ")" : ""));
    bar(mine);
    set("serve-far", far(mine)); // no status: a screen reader would speak every percent
    byId("serve-bar").title = mine.seconds.toFixed(0) + " s";
  }

  /* Where in a step it is: fold, explainer, and what the explainer itself says. */
  function far(mine) {
    if (!mine.far.length) return "";
    const number = XAI.panels.number, own = mine.far[0].what === FOLD ? 1 : 0, told = mine.far.map(function (one, i) {
      if (one.what === FOLD) return text("fold") + " " + (Math.min(one.done + 1, one.total)) + "/" + one.total;
      if (i === own) return one.what;
      return one.what + (one.done === null || one.total === null ? "" : " " + number(one.done) + "/" + number(one.total));
    });
    return told.join(", ") + (mine.share > 0 ? ": " + Math.floor(100 * mine.share) + " %" : "");
  }

  /* Moves where it is known how far the step is. */
  function bar(mine) {
    const element = byId("serve-bar");
    if (mine.state === "waiting") element.value = 0;
    else if (mine.share > 0) element.value = mine.share;
    else element.removeAttribute("value");
  }

  /* Only what has changed is written: a screen reader speaks each change. */
  function set(id, content) { if (byId(id).textContent !== content) byId(id).textContent = content; }

  /* Asks until nothing waits or runs any more. */
  async function follow() {
    if (asking) return;
    asking = true;
    try {
      do {
        jobs = (await ask("api/jobs")).jobs;
        news();
        progress();
        if (active()) await new Promise(function (resolve) { window.setTimeout(resolve, PAUSE); });
      } while (active());
    } catch (error) { tell({ message: error.message }); }
    asking = false;
    if (own && !job()) { own = null; progress(); }
  }

  function news() {
    let opened = null;
    for (const one of jobs) {
      if (one.state !== "done" || shown.has(one.result.person.key)) continue;
      const person = Object.assign({ id: "#" + one.number + " " + one.title, subject: one.title, several: false }, one.result.person);
      shown.set(person.key, { job: one, person: person });
      XAI.add(person);
      if (one.id === own) opened = person;
    }
    const there = new Set(jobs.map(function (one) { return one.result ? one.result.person.key : ""; }));
    for (const key of Array.from(shown.keys())) if (!there.has(key)) { shown.delete(key); XAI.remove(key); }
    const mine = job();
    if (mine && mine.state === "failed") tell({ key: mine.code ? "serve_code_" + mine.code : "serve_state_failed", message: mine.error });
    if (mine && mine.state === "cancelled") tell({ key: "serve_state_cancelled" });
    if (mine && mine.state !== "waiting" && mine.state !== "running") own = null;
    list();
    if (opened) XAI.open(opened.id);
  }

  function list() {
    byId("serve-done").hidden = shown.size === 0;
    byId("serve-results").replaceChildren(...Array.from(shown.values()).reverse().map(entry));
  }

  function entry(found) {
    const result = found.job.result, person = found.person, item = made("li", {}, made("h3", { textContent: person.id }));
    item.dataset.key = person.key;
    item.append(made("p", { textContent: summary(person, result.prediction) }));
    if (result.seen) item.append(made("p", { className: "serve-seen", textContent: text("seen") }));
    for (const warning of result.warnings) item.append(made("p", { className: "serve-warning", textContent: warning }));
    const links = made("p", { className: "serve-files" });
    for (const file of result.files) {
      const base = "results/" + found.job.id + "/", label = file.image.replace(/^.*_desc-/, "").replace(/_[a-z]+\.nii\.gz$/, "");
      links.append(made("a", { href: base + file.image, download: file.image, textContent: "NIfTI " + label }));
      links.append(made("a", { href: base + file.sidecar, download: file.sidecar, textContent: text("serve_sidecar") + " " + label }));
    }
    const open = made("button", { type: "button", textContent: text("serve_show") }), remove = made("button", { type: "button", textContent: text("serve_remove") });
    open.setAttribute("aria-label", text("serve_show") + " " + person.id);
    remove.setAttribute("aria-label", text("serve_remove") + " " + person.id);
    open.addEventListener("click", function () { XAI.open(person.id); });
    remove.addEventListener("click", function () { drop(found.job.id); });
    item.append(links, made("p", {}, open, " ", remove));
    return item;
  }

  function summary(person, prediction) {
    const number = XAI.panels.number, chance = (person.probabilities || {})[person.prediction];
    const parts = [
      text("predicted") + ": " + (typeof person.prediction === "number" ? number(person.prediction) : person.prediction) + (chance === undefined ? "" : " (" + XAI.panels.percent(chance) + ")"),
      text("fold") + " " + person.fold,
    ];
    if (person.explained !== undefined) parts.push(text("explained") + ": " + person.explained);
    if (prediction.agreement !== undefined) parts.push(text("serve_agreement") + " " + (100 * prediction.agreement).toFixed(0) + " %");
    if (prediction.sd !== undefined) parts.push(text("serve_sd") + " " + number(prediction.sd));
    return parts.join(" · ");
  }

  async function drop(id) {
    try { await ask("api/jobs/" + id, { method: "DELETE" }); } catch (error) { tell({ message: error.message }); }
    follow();
  }

  function listen() {
    byId("serve-form").addEventListener("submit", send);
    byId("serve-person").addEventListener("input", form.choosePerson);
    byId("serve-cancel").addEventListener("click", function () { if (sending) sending.abort(); else if (own) drop(own); });
    // Dropped anywhere: a browser would open the file instead of the page.
    document.addEventListener("dragover", function (event) { event.preventDefault(); byId("serve-drop").classList.add("over"); });
    document.addEventListener("dragleave", function (event) { if (!event.relatedTarget) byId("serve-drop").classList.remove("over"); });
    document.addEventListener("drop", function (event) {
      event.preventDefault();
      byId("serve-drop").classList.remove("over");
      if (!event.dataTransfer.files.length) return;
      const problem = form.dropped(event.dataTransfer.files);
      tell(problem ? { message: problem } : null);
    });
    document.addEventListener("xai-language", function () { form.build(null); list(); progress(); if (failure) tell(failure); });
  }

  async function start() {
    try {
      form.build(await ask("session.json"));
      listen();
      XAI.serving = true;
    } catch (error) { tell({ message: error.message }); return; }
    follow();
  }

  start();
})();
