// The page's state (chosen process, time range, target, search) and what follows from it.

const state = { node: null, alone: false, range: null, target: null, view: "actions", fileView: "read or changed" };
let model, tree, timeline, chosen, table;

/** The rows that all filters let through, in the order of the log. */
function choose() {
  let within = null;
  if (state.node) {
    within = new Uint8Array(model.nodes.length);
    const pending = [state.node];
    while (pending.length) {
      const node = pending.pop();
      within[node.index] = 1;
      if (!state.alone) pending.push(...node.children);
    }
  }
  const query = $("search").value.trim();
  const asked = query ? compile(query, model) : null;
  const [from, to] = state.range || [];
  const found = [];
  for (let i = 0; i < model.size; i++) {
    if (within && !within[model.node[i]]) continue;
    if (state.range && !(model.first[i] <= to && model.end(i) >= from)) continue;
    if (state.target !== null && model.strings[model.target[i]] !== state.target) continue;
    if (asked && !asked(i)) continue;
    found.push(i);
  }
  return found;
}

function update() {
  chosen = choose();
  const all = chosen.length === model.size;
  $("hits").textContent = all ? `${number(model.size)} Actions` : `${number(chosen.length)} of ${number(model.size)} Actions`;
  const chip = (text, undo, more) => h("span", { class: "chip" }, h("bdi", {}, text), more ?? null,
    h("button", { type: "button", "aria-label": `Remove filter ${text}`, onclick: undo }, "×"));
  const chips = [];
  if (state.node) {
    const both = state.node.children.length ? h("button", { type: "button", class: "text", onclick: () => { state.alone = !state.alone; update(); } },
      state.alone ? "alone" : "with what it started") : null;
    chips.push(chip(`${state.node.pid ?? "–"} ${harmless(state.node.words).slice(0, 60)}`, () => select(null), both));
  }
  if (state.range) chips.push(chip(`${(state.range[0] / 1e6).toFixed(3)}–${(state.range[1] / 1e6).toFixed(3)} s`, () => timeline.zoom(0, model.span)));
  if (state.target !== null) chips.push(chip(harmless(state.target), () => { state.target = null; update(); }));
  $("chips").replaceChildren(...chips);
  show();
}

function select(node, move) {
  state.node = node;
  tree.mark(node, move);
  timeline?.mark(node);
  update();
}

function show(view = state.view) {
  state.view = view;
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const on = tab.dataset.view === view;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  $("view").setAttribute("aria-labelledby", `tab-${view}`);
  if ($("view").dataset.view !== view) {
    $("view").dataset.view = view;
    table = VIEWS[view].make($("view"));
  }
  VIEWS[view].fill(table);
}

const text = (id) => harmless(model.strings[id]);
const tagList = (tags) => h("span", {}, ...(tags || []).map((tag) => h("span", { class: "tag" }, tag)));
const bidi = (words) => h("bdi", { title: words }, words);
const named = (errors) => Object.entries(errors || {}).map(([name, times]) => (times === 1 ? name : `${name} ×${number(times)}`)).join(" ");
const program = (i) => model.nodes[model.node[i]];

const ACTION_COLUMNS = [
  { title: "seq", css: "num w7", num: true, text: (i) => String(model.seq[i]), sort: (i) => i },
  { title: "time, s", css: "num w9", text: (i) => seconds(model.first[i]), sort: (i) => model.first[i] },
  { title: "program", css: "w12 program", long: true, text: (i) => (program(i) ? `${program(i).pid ?? "–"} ${harmless(program(i).name)}` : "–") },
  { title: "kind", css: "w10", text: (i) => { const kind = text(model.kind[i]); return h("span", { class: `kind ${kind.split(".")[0]}` }, kind); }, sort: (i) => text(model.kind[i]) },
  { title: "target", css: "grow", text: (i) => { const what = whatOf(i); return bidi(what); }, sort: (i) => text(model.target[i]) },
  { title: "×", css: "num w5", num: true, text: (i) => (model.count[i] > 1 ? number(model.count[i]) : ""), sort: (i) => model.count[i] },
  { title: "bytes", css: "num w8", num: true, text: (i) => (model.bytes[i] ? size(model.bytes[i]) : ""), sort: (i) => model.bytes[i] },
  { title: "errors, tags", css: "w12", text: (i) => h("span", {}, h("span", { class: "bad" }, named(model.json(model.errors[i])), " "), tagList(model.json(model.tags[i]))), sort: (i) => named(model.json(model.errors[i])) },
];

/** The target; of an exec its command, of a rename where to, of an end how. */
function whatOf(i) {
  const more = model.json(model.more[i]) || {};
  const target = text(model.target[i]);
  if (Array.isArray(more.argv)) return `${target}  ${harmless(more.argv.map(quoted).join(" "))}`;
  if (more.to) return `${target} → ${harmless(more.to)}`;
  if (more.signal) return `${target} ${harmless(String(more.signal))}`;
  if (more.status !== undefined) return `${target} exit ${more.status}`;
  return target || harmless(more.text || "");
}

const VIEWS = {
  actions: {
    make: (host) => {
      const made = new Table(host, "actions", "Actions", ACTION_COLUMNS, detail);
      made.mark = (i) => (model.failures[i] && !model.worked(i) ? ["failed"] : ["fine"]);
      return made;
    },
    fill: (made) => made.set(chosen),
  },
  files: { make: (host) => new FileView(host), fill: (made) => made.fill() },
  network: {
    make: (host) => new Table(host, "network", "Addresses", [
      { title: "address", css: "grow", text: (row) => bidi(harmless(row.address)), sort: (row) => row.address },
      { title: "did", css: "w14", text: (row) => [...row.does].join(" ") },
      { title: "sent", css: "num w8", num: true, text: (row) => (row.sent ? size(row.sent) : ""), sort: (row) => row.sent },
      { title: "received", css: "num w8", num: true, text: (row) => (row.received ? size(row.received) : ""), sort: (row) => row.received },
      { title: "failed", css: "num w7 bad", num: true, text: (row) => (row.failures ? number(row.failures) : ""), sort: (row) => row.failures },
      { title: "processes", css: "num w8", num: true, text: (row) => number(row.procs.size), sort: (row) => row.procs.size },
      { title: "Actions", css: "num w7", num: true, text: (row) => number(row.actions), sort: (row) => row.actions },
    ], (row) => aim(row.address)),
    fill: (made) => made.set(addressesOf(model, chosen)),
  },
  failures: {
    make: (host) => new Table(host, "failures", "Failures", [
      { title: "error", css: "w10 bad", text: (row) => harmless(row.errno) },
      { title: "kind", css: "w10", text: (row) => row.kind },
      { title: "target", css: "grow", text: (row) => bidi(harmless(row.target)), sort: (row) => row.target },
      { title: "times", css: "num w7", num: true, text: (row) => number(row.times), sort: (row) => row.times },
      { title: "processes", css: "num w8", num: true, text: (row) => number(row.procs.size), sort: (row) => row.procs.size },
      { title: "first seq", css: "num w8", num: true, text: (row) => String(model.seq[row.row]), sort: (row) => model.seq[row.row] },
    ], (row) => detail(row.row)),
    fill: (made) => {
      const ends = chosen.filter((i) => text(model.kind[i]) === "proc.exit" && isBad(program(i)?.end ?? "")).map((i) => (
        { errno: program(i).end, kind: "proc.exit", target: program(i).words, times: 1, row: i, procs: new Set([program(i).proc]) }));
      made.set([...ends, ...failuresOf(model, chosen)]);
    },
  },
  tags: {
    make: (host) => new Table(host, "tags", "Tagged Actions", [
      { title: "tag", css: "w14", text: (row) => tagList([row.tag]), sort: (row) => row.tag },
      { title: "seq", css: "num w7", num: true, text: (row) => String(model.seq[row.row]), sort: (row) => row.row },
      { title: "program", css: "w12 program", text: (row) => (program(row.row) ? `${program(row.row).pid ?? "–"} ${harmless(program(row.row).name)}` : "–") },
      { title: "kind", css: "w10", text: (row) => text(model.kind[row.row]) },
      { title: "target", css: "grow", text: (row) => bidi(whatOf(row.row)) },
      { title: "why", css: "grow dim", long: true, text: (row) => harmless(row.why) },
    ], (row) => detail(row.row)),
    fill: (made) => made.set(tagsOf(model, chosen)),
  },
};

/** Show the Actions on one target. */
function aim(target) {
  state.target = target;
  state.view = "actions";
  update();
}

/** Files by directory, as a tree. */
class FileView {
  constructor(host) {
    this.open = new Map();
    this.kinds = h("div", { class: "thead kinds", role: "radiogroup", "aria-label": "Which files" });
    this.body = h("div", { id: "files", class: "list", tabindex: "0", role: "tree", "aria-label": "Files" });
    host.replaceChildren(this.kinds, this.body);
    this.list = new VirtualList(this.body, (i) => this.draw(this.rows[i]), (i) => this.toggle(i));
    this.list.key = (i, event) => {
      const want = { ArrowRight: true, ArrowLeft: false, " ": !this.rows[i].open }[event.key];
      if (want === undefined || this.rows[i].open === want || !this.rows[i].at.kids.size) return false;
      this.toggle(i);
      return true;
    };
  }

  fill() {
    const files = [...filesOf(model, chosen).values()];
    this.kinds.replaceChildren(...Object.entries(FILE_VIEWS).map(([name, test]) => h("button", {
      type: "button", class: "cell", role: "radio", "aria-checked": String(name === state.fileView),
      onclick: () => { state.fileView = name; this.fill(); },
    }, `${name} ${number(files.filter(test).length)}`)),
    h("span", { class: "dim legend" }, "r read · w written · c created · d deleted · m changed · x run · ? not there"));
    this.root = directoriesOf(files.filter(FILE_VIEWS[state.fileView]));
    this.flatten();
  }

  flatten(keep) {
    this.rows = [];
    const visit = (at, path, depth) => {
      let name = at.name;
      while (at.kids.size === 1 && !at.file && path !== "") {
        const [only] = at.kids.values();
        if (!only.kids.size) break;
        at = only;
        path = `${path === "/" ? "" : path}/${at.name}`;
        name += `/${at.name}`;
      }
      const open = this.open.get(path) ?? (depth === 0 || this.root.files <= 40);
      this.rows.push({ at, path, depth, name, open });
      if (!open) return;
      const kids = [...at.kids.values()].sort((a, b) => Boolean(b.kids.size) - Boolean(a.kids.size) || (a.name < b.name ? -1 : 1));
      for (const kid of kids) visit(kid, `${path === "/" ? "" : path}/${kid.name}`, depth + 1);
    };
    if (this.root.files || this.root.file) visit(this.root, "/", 0);
    this.list.set(this.rows.length, keep);
  }

  draw({ at, path, depth, name, open }) {
    const { file } = at;
    const letters = file ? [..."rwcdmx?"].map((letter) => h("span", { class: file.does.has(letter) ? `does ${/[wcdm]/.test(letter) ? "changes" : ""}` : "does none" }, file.does.has(letter) ? letter : "·")) : [];
    const row = h("div", { class: "row", role: "treeitem", "aria-level": depth + 1, "aria-expanded": at.kids.size ? String(open) : null },
      h("span", { class: "twist", "aria-hidden": "true" }, at.kids.size ? (open ? "▾" : "▸") : ""),
      h("span", { class: "words", title: harmless(path) }, h("bdi", {}, harmless(name) + (at.kids.size && name !== "/" ? "/" : ""))),
      at.kids.size ? h("span", { class: "times" }, `${number(at.files)} ${at.files === 1 ? "file" : "files"}`, at.changed ? h("span", { class: "changes" }, ` ${number(at.changed)} changed`) : "") : null,
      h("span", { class: "took" }, file?.read ? `${size(file.read)} r` : ""),
      h("span", { class: "took" }, file?.written ? `${size(file.written)} w` : ""),
      h("span", { class: "letters" }, ...letters));
    row.firstChild.style.marginLeft = `${Math.min(depth, 24) * 14}px`;
    return row;
  }

  toggle(i) {
    const { at, path, open } = this.rows[i];
    if (!at.kids.size) return aim(at.file.path);
    this.open.set(path, !open);
    return this.flatten(true);
  }
}

/** One Action, every member of it, and the command that shows the record. */
function detail(i) {
  const box = $("detail");
  const node = program(i);
  const shown = `capsule show ${model.run} ${model.seq[i]}`;
  const rows = [["kind", text(model.kind[i])], ["target", text(model.target[i])]];
  if (node) rows.push(["program", `${node.pid ?? "–"} ${harmless(node.words)}`], ["exe", harmless(node.exe)]);
  if (!Number.isNaN(model.first[i])) rows.push(["time", `${seconds(model.first[i])} s${model.took[i] ? `, for ${duration(model.took[i])}` : ""}`]);
  rows.push(["count", number(model.count[i])]);
  if (model.bytes[i]) rows.push(["bytes", number(model.bytes[i])]);
  if (model.errors[i]) rows.push(["errors", named(model.json(model.errors[i]))]);
  for (const [name, value] of Object.entries(model.json(model.more[i]) || {})) rows.push([name, harmless(typeof value === "string" ? value : JSON.stringify(value))]);
  for (const tag of model.json(model.tags[i]) || []) rows.push([tag, harmless(model.whys[tag] || "")]);
  const copy = h("button", { type: "button", onclick: () => navigator.clipboard?.writeText(shown).then(() => { copy.textContent = "Copied"; }) }, "Copy");
  box.replaceChildren(
    h("div", { class: "panehead" }, h("h2", {}, `Record ${model.seq[i]}`), h("code", {}, shown), copy,
      node ? h("button", { type: "button", onclick: () => select(node, true) }, "Its program") : null,
      h("button", { type: "button", onclick: () => { state.target = model.strings[model.target[i]]; update(); } }, "Same target"),
      h("button", { type: "button", "aria-label": "Close", onclick: close }, "×")),
    h("dl", {}, ...rows.filter(([, value]) => value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", { class: "mono" }, h("bdi", {}, value))))));
  box.hidden = false;
}

function close() {
  $("detail").hidden = true;
}

/** `#files`, `#tag=exec.tmp`, `#seq=12`: what the summary links to. */
function route() {
  const [name, value] = decodeURIComponent(location.hash.slice(1)).split(/=(.*)/s);
  const jump = () => $("explore").scrollIntoView({ block: "start" });
  if (name in VIEWS) {
    show(name);
    jump();
  } else if (name === "tag") {
    $("search").value = `tag:${value}`;
    state.view = "tags";
    update();
    jump();
  } else if (name === "seq") {
    const row = model.seq.indexOf(Number(value));
    if (row < 0) return;
    reset();
    table.list.go(row);
    detail(row);
    jump();
  } else if (name === "tree") {
    jump();
    $("tree").focus({ preventScroll: true });
  }
}

/** Take every filter away. */
function reset() {
  Object.assign(state, { node: null, target: null, view: "actions" });
  $("search").value = "";
  tree.mark(null);
  timeline?.mark(null);
  if (state.range) timeline.zoom(0, model.span);
  state.range = null;
  close();
  update();
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  timeline?.later();
}

function keys(event) {
  const typing = event.target.matches("input");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (!$("detail").hidden) close();
    else reset();
  } else if (event.key === "/" && !typing) {
    $("search").focus();
    event.preventDefault();
  } else if (event.key === "t" && !typing) theme();
}

async function main() {
  $("theme").addEventListener("click", theme);
  $("print").addEventListener("click", () => print());
  model = await load();
  tree = new ProcessTree($("tree"), model, (node) => select(node));
  if (model.timed) timeline = new Timeline($("timeline"), model, (node) => select(node, true), (range) => { state.range = range; update(); });
  else $("timeline").hidden = true;
  $("tree-title").textContent = `Processes · ${number(model.nodes.length)} programs`;
  $("expand").addEventListener("click", () => tree.every(true));
  $("collapse").addEventListener("click", () => tree.every(false));
  let wait;
  $("search").addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(update, model.size > 20000 ? 120 : 0);
  });
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => show(tab.dataset.view));
    tab.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!by) return;
      const next = tabs[(at + by + tabs.length) % tabs.length];
      next.focus();
      show(next.dataset.view);
    });
  });
  document.addEventListener("keydown", keys);
  addEventListener("hashchange", route);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline?.later());
  update();
  route();
  document.documentElement.dataset.ready = "true";
}

document.documentElement.classList.add("js");
main().catch((error) => {
  document.documentElement.classList.remove("js");
  $("broken").hidden = false;
  $("broken").textContent = `This browser cannot show the interactive part (${error}). It needs a browser of 2023 or later; the lists below hold the essentials.`;
});
