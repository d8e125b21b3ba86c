"use strict";
(() => {
  const $ = (id) => document.getElementById(id);

  for (const slider of document.querySelectorAll("input.opacity")) {
    slider.addEventListener("input", () =>
      document.documentElement.style.setProperty("--relevance", slider.value));
  }
  for (const button of document.querySelectorAll("button.copy")) {
    button.addEventListener("click", () => {
      const text = $(button.dataset.of).textContent;
      const done = () => { button.textContent = button.dataset.done; };
      if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => select($(button.dataset.of)));
      else select($(button.dataset.of));
    });
  }
  function select(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  }
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("input, select, textarea")) return;
    const step = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
    const link = step && document.querySelector(`a[rel="${step}"]`);
    if (link) { event.preventDefault(); link.click(); }
  });

  if (!$("people-data")) return;
  const { columns, rows, links, viewer, words } = JSON.parse($("people-data").textContent);
  const table = $("people-table"), body = table.tBodies[0], state = { sort: 0, down: false, page: 0, size: 25 };
  const filters = columns.map(() => "");
  let found = rows.map((_, index) => index);
  const shown = (cell, column) =>
    cell === null ? "–" : column.digits === null ? String(cell) : cell.toFixed(column.digits);

  // A filter of numbers: >0.5, <=3, 60..80, 0.7, or ? for not known. Undefined: it cannot be read.
  function numeric(text) {
    const value = text.replace(/\s/g, "").replace(/,/g, ".");
    if (value === "?") return (cell) => cell === null;
    const range = value.match(/^(-?[\d.]+)\.\.(-?[\d.]+)$/);
    if (range) {
      const low = Number(range[1]), high = Number(range[2]);
      return Number.isNaN(low + high) ? undefined : (cell) => cell !== null && cell >= low && cell <= high;
    }
    const parts = value.match(/^(>=|<=|>|<|=|≥|≤)?(-?\d*\.?\d+)$/);
    if (!parts) return undefined;
    const limit = Number(parts[2]);
    const test = {
      ">": (c) => c > limit, "<": (c) => c < limit, ">=": (c) => c >= limit, "≥": (c) => c >= limit,
      "<=": (c) => c <= limit, "≤": (c) => c <= limit,
    }[parts[1]];
    return (cell, column) => cell !== null &&
      (test ? test(cell) : cell === limit || (column.digits && shown(cell, column) === limit.toFixed(column.digits)));
  }
  function test(index) {
    const text = filters[index], column = columns[index];
    if (!text) return null;
    if (column.kind === "number") return numeric(text);
    if (column.kind === "choice") return (cell) => (cell === null ? "" : String(cell)) === text.slice(1);
    const part = text.toLowerCase();
    return (cell) => cell !== null && String(cell).toLowerCase().includes(part);
  }
  function refresh() {
    const tests = columns.map((_, index) => test(index));
    inputs.forEach((input, index) =>
      tests[index] === undefined ? input.setAttribute("aria-invalid", "true") : input.removeAttribute("aria-invalid"));
    found = rows.map((_, index) => index).filter((row) =>
      tests.every((one, index) => !one || one(rows[row][index], columns[index])));
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    const numbers = columns[state.sort].kind === "number", sign = state.down ? -1 : 1;
    found.sort((a, b) => {
      const one = rows[a][state.sort], other = rows[b][state.sort];
      if (one === null || other === null) return (one === null) - (other === null) || a - b;  // unknown ones last
      return sign * (numbers ? one - other : compare(String(one), String(other))) || a - b;
    });
    state.page = 0;
    draw();
  }
  function draw(all = false) {
    const size = all ? found.length : state.size;
    const pages = Math.max(1, Math.ceil(found.length / size));
    state.page = Math.min(Math.max(state.page, 0), pages - 1);
    const part = found.slice(state.page * size, (state.page + 1) * size);
    body.replaceChildren(...part.map(line));
    $("people-count").textContent = words.count
      .replace("{shown}", found.length).replace("{all}", rows.length)
      .replace("{page}", state.page + 1).replace("{pages}", pages);
    $("people-previous").disabled = state.page === 0;
    $("people-next").disabled = state.page >= pages - 1;
    heads.forEach((head, index) => head.setAttribute(
      "aria-sort", index !== state.sort ? "none" : state.down ? "descending" : "ascending"));
  }
  function shownIn(address, scan) {
    const link = document.createElement("a");
    link.className = "viewer";
    link.href = address;
    link.textContent = words.viewer;
    link.setAttribute("aria-label", `${words.viewer} ${scan}`);
    return link;
  }
  function line(row) {
    const element = document.createElement("tr");
    rows[row].forEach((cell, index) => {
      const box = document.createElement(index ? "td" : "th");
      if (!index) box.scope = "row";
      box.className = columns[index].kind;
      const text = shown(cell, columns[index]);
      if (!index && links[row]) {
        const link = document.createElement("a");
        link.href = links[row];
        link.textContent = text;
        box.append(link);
        if (viewer[row]) box.append(" ", shownIn(viewer[row], text));
      } else box.textContent = text;
      if (columns[index].key === "decision" && cell === words.wrong) box.classList.add("bad");
      if (columns[index].key === "certainty" && cell === words.unsure) box.classList.add("bad");
      element.append(box);
    });
    return element;
  }

  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.title = words.sort;
    button.addEventListener("click", () => {
      state.down = state.sort === index && !state.down;
      state.sort = index;
      refresh();
    });
    head.replaceChildren(button);
  });
  const filterRow = table.tHead.insertRow();
  const inputs = columns.map((column, index) => {
    const cell = document.createElement("td");
    const input = document.createElement(column.kind === "choice" ? "select" : "input");
    if (column.kind === "choice") {
      // A value gets a dot in front, so that an empty one is not "all".
      const unknown = rows.some((row) => row[index] === null) ? [[".", words.unknown]] : [];
      for (const [value, text] of [["", words.all], ...column.choices.map((c) => [`.${c}`, c]), ...unknown]) {
        const option = document.createElement("option");
        option.value = value;
        option.textContent = text;
        input.append(option);
      }
    } else {
      input.type = "search";
      input.placeholder = column.kind === "number" ? words.number : words.text;
    }
    input.setAttribute("aria-label", words.filter.replace("{column}", column.title));
    input.addEventListener("input", () => { filters[index] = input.value.trim(); refresh(); });
    cell.append(input);
    filterRow.append(cell);
    return input;
  });
  function set(values) {
    columns.forEach((column, index) => {
      filters[index] = inputs[index].value = values[column.key] ?? "";
    });
    refresh();
  }
  for (const button of document.querySelectorAll("button[data-filter]")) {
    button.addEventListener("click", () => set(JSON.parse(button.dataset.filter)));
  }
  $("people-size").addEventListener("change", (event) => {
    state.size = event.target.value === "all" ? rows.length || 1 : Number(event.target.value);
    state.page = 0;
    draw();
  });
  $("people-previous").addEventListener("click", () => { state.page -= 1; draw(); });
  $("people-next").addEventListener("click", () => { state.page += 1; draw(); });
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());
  for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
  refresh();
})();
