// The data: base64 → deflate → JSON → typed arrays; and how its texts are shown.

const $ = (id) => document.getElementById(id);

/** An element. Text goes in as text only; nothing here parses HTML. */
function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (key === "class") el.className = value;
    else el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children.filter((child) => child !== null && child !== undefined));
  return el;
}

/** Control, bidi and other invisible characters as escapes, as on a terminal (capsule/text.py). */
function harmless(text) {
  return text.replace(/[\p{C}\p{Z}]/gu, (char) => {
    if (char === " ") return char;
    const code = char.codePointAt(0).toString(16);
    return code.length < 3 ? `\\x${code.padStart(2, "0")}` : `\\u{${code}}`;
  });
}

const number = (n) => n.toLocaleString("en-US");

function size(bytes) {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (bytes < 1024) return `${unit === "B" || bytes >= 10 ? bytes.toFixed(0) : bytes.toFixed(1)} ${unit}`;
    bytes /= 1024;
  }
  return `${bytes.toFixed(1)} TiB`;
}

/** Microseconds as a person reads them. */
function duration(us) {
  if (Number.isNaN(us)) return "";
  if (us < 1000) return `${us.toFixed(0)} µs`;
  if (us < 1e6) return `${(us / 1e3).toFixed(us < 1e4 ? 1 : 0)} ms`;
  if (us < 6e7) return `${(us / 1e6).toFixed(2)} s`;
  const minutes = Math.floor(us / 6e7);
  return `${minutes} min ${((us % 6e7) / 1e6).toFixed(0).padStart(2, "0")} s`;
}

const seconds = (us) => (Number.isNaN(us) ? "" : (us / 1e6).toFixed(6));

/** One program run by a process; `label` is what repeats are folded by. */
function makeNodes(columns, strings) {
  const nodes = columns.proc.map((proc, index) => {
    const argv = JSON.parse(strings[columns.argv[index]] || "[]");
    const exe = strings[columns.exe[index]];
    const name = (exe || argv[0] || "?").split("/").pop() || "?";
    const first = columns.first[index] ?? NaN;
    return {
      index, proc, pid: columns.pid[index], argv, exe, name, first,
      last: columns.last[index] ?? first, end: strings[columns.end[index]],
      forked: columns.forked[index] === 1, parent: columns.parent[index], children: [],
      actions: 0, failures: 0, tags: new Set(), words: argv.map(quoted).join(" ") || name,
    };
  });
  const roots = [];
  for (const node of nodes) (node.parent < 0 ? roots : nodes[node.parent].children).push(node);
  const birth = (a, b) => (a.first - b.first) || (a.index - b.index);
  for (const node of nodes) node.children.sort(birth);
  return { nodes, roots };
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);
const isBad = (end) => end !== "" && end !== "exit 0" && end !== "exec" && end !== "ended";

function unpack(data) {
  const strings = data.strings;
  const rows = data.actions;
  const size_ = rows.seq.length;
  const first = new Float64Array(size_);
  const seq = new Float64Array(size_);
  for (let i = 0, at = 0, n = 0; i < size_; i++) {
    seq[i] = n += rows.seq[i];
    first[i] = rows.first[i] === null ? NaN : (at += rows.first[i]);
  }
  const parsed = new Map();
  const json = (id) => {
    if (id === 0) return null;
    if (!parsed.has(id)) parsed.set(id, JSON.parse(strings[id]));
    return parsed.get(id);
  };
  const { nodes, roots } = makeNodes(data.nodes, strings);
  const failures = new Float64Array(size_);
  for (let i = 0; i < size_; i++) {
    for (const times of Object.values(json(rows.errors[i]) || {})) failures[i] += times;
    const node = nodes[rows.node[i]];
    if (!node) continue;
    node.actions++;
    node.failures += failures[i];
    for (const tag of json(rows.tags[i]) || []) node.tags.add(tag);
  }
  let span = 0;
  for (let i = 0; i < size_; i++) if (first[i] + rows.took[i] > span) span = first[i] + rows.took[i];
  return {
    ...rows, seq, first, failures, strings, json, nodes, roots, span, size: size_, run: data.run,
    whys: data.whys, timed: data.base_ns !== null && span > 0,
    end: (i) => first[i] + rows.took[i],
    worked: (i) => failures[i] < rows.count[i] || (json(rows.errors[i]) || {}).EINPROGRESS !== undefined,
  };
}

async function load() {
  const bytes = Uint8Array.from(atob($("data").textContent.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return unpack(JSON.parse(await new Response(stream).text()));
}

/** What a search asks, as a function of an Action's row. Words must all hold; `-word` must not. */
function compile(query, model) {
  const terms = [];
  for (const found of query.matchAll(/(-?)(?:(kind|tag|errno|pid|seq|exe|target|is):)?("[^"]*"|\S+)/gi)) {
    const word = found[3].replace(/^"|"$/g, "").toLowerCase();
    if (word && word !== "-") terms.push({ not: found[1] === "-", test: term(found[2]?.toLowerCase(), word, model) });
  }
  return (i) => terms.every((one) => one.test(i) !== one.not);
}

function term(what, word, model) {
  const seen = new Int8Array(model.strings.length); // 0 unknown, 1 yes, -1 no
  const has = (id) => (seen[id] ||= harmless(model.strings[id]).toLowerCase().includes(word) ||
    model.strings[id].toLowerCase().includes(word) ? 1 : -1) > 0;
  const list = (column, test) => {
    const known = new Map([[0, false]]);
    return (i) => {
      const id = column[i];
      if (!known.has(id)) known.set(id, test(model.json(id)));
      return known.get(id);
    };
  };
  const nodes = model.nodes.map((node) => `${node.words} ${node.exe}`.toLowerCase().includes(word));
  switch (what) {
    case "kind": return (i) => model.strings[model.kind[i]].startsWith(word);
    case "target": return (i) => has(model.target[i]);
    case "exe": return (i) => nodes[model.node[i]] === true;
    case "pid": return (i) => String(model.nodes[model.node[i]]?.pid) === word;
    case "seq": return (i) => String(model.seq[i]) === word;
    case "errno": return list(model.errors, (errors) => Object.keys(errors).some((name) => name.toLowerCase().startsWith(word)));
    case "tag": return list(model.tags, (tags) => tags.some((tag) => tag.startsWith(word)));
    case "is": return word === "failed" ? (i) => model.failures[i] > 0 : (i) => word === "tagged" && model.tags[i] > 0;
    default: return (i) => has(model.target[i]) || has(model.kind[i]) || has(model.errors[i]) ||
      has(model.tags[i]) || has(model.more[i]) || nodes[model.node[i]] === true;
  }
}
