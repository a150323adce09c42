// What the chosen Actions touched: files by directory, addresses, failures, tags. Pure sums.

const WRITES = new Set(["file.create", "file.write", "file.truncate", "file.copy"]);
const CHANGES = new Set(["file.chmod", "file.chown", "file.rename", "file.link"]);

/** Path → what was done to it, over the rows `chosen`. Letters: r w c d m x, and ? not there. */
function filesOf(model, chosen) {
  const found = new Map();
  const at = (path) => {
    let file = found.get(path);
    if (!file) found.set(path, (file = { path, does: new Set(), read: 0, written: 0, failures: 0, actions: 0 }));
    file.actions++;
    return file;
  };
  for (const i of chosen) {
    const kind = model.strings[model.kind[i]];
    const target = model.strings[model.target[i]];
    const about = kind.startsWith("file.") || kind.startsWith("dir.") || kind === "proc.exec";
    if (!about || !target.startsWith("/")) continue;
    const file = at(target);
    file.failures += model.failures[i];
    if (!model.worked(i)) {
      file.does.add("?");
      continue;
    }
    const access = model.json(model.more[i])?.access;
    if (kind === "file.read") file.read += model.bytes[i];
    if (kind === "file.write") file.written += model.bytes[i];
    if (kind === "file.read" || kind === "dir.list" || access === "read" || access === "read-write") file.does.add("r");
    if (WRITES.has(kind) || access === "write" || access === "read-write") file.does.add("w");
    if (kind === "file.create" || kind === "dir.create") file.does.add("c");
    if (kind === "file.delete" || kind === "dir.delete" || kind === "file.rename") file.does.add("d");
    if (CHANGES.has(kind)) file.does.add("m");
    if (kind === "proc.exec") file.does.add("x");
    const to = model.json(model.more[i])?.to;
    if ((kind === "file.rename" || kind === "file.link") && typeof to === "string" && to.startsWith("/")) at(to).does.add("c");
  }
  return found;
}

const FILE_VIEWS = {
  "read or changed": (file) => /[rwcdmx]/.test([...file.does].join("")),
  changed: (file) => /[wcdm]/.test([...file.does].join("")),
  "not there": (file) => file.does.has("?") && file.does.size === 1,
  all: () => true,
};

/** Files as a tree of directories; a directory that holds one directory only is one row with it. */
function directoriesOf(files) {
  const root = { name: "/", kids: new Map(), files: 0, changed: 0 };
  for (const file of files) {
    const parts = file.path.split("/").filter(Boolean);
    let at = root;
    parts.forEach((part, depth) => {
      at.files++;
      if (FILE_VIEWS.changed(file)) at.changed++;
      let next = at.kids.get(part);
      if (!next) at.kids.set(part, (next = { name: part, kids: new Map(), files: 0, changed: 0 }));
      if (depth === parts.length - 1) next.file = file;
      at = next;
    });
    if (!parts.length) root.file = file;
  }
  return root;
}

function addressesOf(model, chosen) {
  const found = new Map();
  for (const i of chosen) {
    const kind = model.strings[model.kind[i]];
    const target = model.strings[model.target[i]];
    if (!kind.startsWith("net.") || !target || ["net.socket", "net.option"].includes(kind) || target.startsWith("socket:")) continue;
    let host = found.get(target);
    if (!host) found.set(target, (host = { address: target, does: new Set(), sent: 0, received: 0, failures: 0, actions: 0, procs: new Set() }));
    host.actions++;
    host.failures += model.failures[i];
    host.does.add(kind.slice(4));
    if (kind === "net.send") host.sent += model.bytes[i];
    if (kind === "net.recv") host.received += model.bytes[i];
    host.procs.add(model.nodes[model.node[i]]?.proc);
  }
  return [...found.values()].sort((a, b) => a.address.startsWith("unix:") - b.address.startsWith("unix:") || b.actions - a.actions);
}

function failuresOf(model, chosen) {
  const found = new Map();
  for (const i of chosen) {
    if (!model.failures[i]) continue;
    for (const [errno, times] of Object.entries(model.json(model.errors[i]))) {
      const key = `${errno} ${model.kind[i]} ${model.target[i]}`;
      let row = found.get(key);
      if (!row) found.set(key, (row = { errno, kind: model.strings[model.kind[i]], target: model.strings[model.target[i]], times: 0, row: i, procs: new Set() }));
      row.times += times;
      row.procs.add(model.nodes[model.node[i]]?.proc);
    }
  }
  // what was refused first; last what programs ask on every start, to be told no
  const usual = (row) => /^(ENOENT|ENOTTY|EAGAIN)$/.test(row.errno) || (row.errno === "EINVAL" && row.kind === "file.readlink");
  const rank = (row) => (row.errno === "EPERM" || row.errno === "EACCES" ? 0 : usual(row) ? 2 : 1);
  return [...found.values()].sort((a, b) => rank(a) - rank(b) || b.times - a.times);
}

function tagsOf(model, chosen) {
  const found = new Map();
  for (const i of chosen) {
    for (const tag of model.json(model.tags[i]) || []) {
      if (!found.has(tag)) found.set(tag, []);
      found.get(tag).push(i);
    }
  }
  const rows = [];
  for (const [tag, actions] of [...found].sort((a, b) => a[1].length - b[1].length)) {
    for (const row of actions) rows.push({ tag, row, total: actions.length, why: model.whys[tag] || "" });
  }
  return rows;
}
