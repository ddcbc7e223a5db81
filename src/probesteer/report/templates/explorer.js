"use strict";
// The state of the page is its address; `show` draws what it says. Texts of models are only ever written by textContent.
const PAGE = { texts: 4, tables: 100 }, LONGEST = 4000, WIDE = 10;
const $ = (id) => document.getElementById(id);
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g;
let about, drawn = 0;
const opened = new Map();

async function unpack(id) {
  const bytes = Uint8Array.from(atob($(id).textContent.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
async function part(name) {
  if (!opened.has(name)) opened.set(name, await unpack("part-" + about.parts.indexOf(name)));
  return opened.get(name);
}
const parts = (kind) => about.parts.filter((name) => name.startsWith(kind + "/")).map((name) => name.slice(kind.length + 1));
const rowsOf = (columns) => (Object.values(columns)[0] || []).map((_, i) =>
  Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[i]])));
const unique = (values) => [...new Set(values)];
const byNumber = (a, b) => a - b;

// The address
const state = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
function go(change, replace) {
  const next = new URLSearchParams(Object.entries({ ...state(), ...change }).filter(([, value]) => value !== "" && value != null));
  if (replace) { history.replaceState(null, "", "#" + next); show(); } else location.hash = next;
}

// Elements
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
const explained = (name) => about.glossary[name] || about.glossary[name.replace(/_(lower|upper)$/, "")] || null;
const spoken = (name) => name.replaceAll("_", " ");
function select(name, label, values, value, titles = {}) {
  const options = values.map((one) => element("option", { value: one, selected: String(one) === String(value) }, titles[one] ?? String(one)));
  return element("label", { title: explained(name) }, label,
    element("select", { name, onchange: (event) => go({ [name]: event.target.value, page: "" }) }, ...options));
}
function search(value, label) {
  return element("label", {}, label, element("input", { type: "search", name: "find", value: value || "",
    oninput: (event) => go({ find: event.target.value, page: "" }, true) }));
}
function boxes(name, label, values, chosen) {
  const change = () => go({ [name]: [...document.querySelectorAll(`input[name=${name}]:checked`)].map((box) => box.value).join(",") || "none", page: "" });
  return element("fieldset", { title: explained(name) }, element("legend", {}, label), element("div", {}, ...values.map((value) =>
    element("label", {}, element("input", { type: "checkbox", name, value, checked: chosen.includes(String(value)), onchange: change }), String(value)))));
}
function pager(page, pages) {
  const step = (by, label, key) => element("button", { type: "button", "aria-keyshortcuts": key, disabled: page + by < 1 || page + by > pages,
    onclick: () => go({ page: page + by }) }, label);
  return element("nav", { "aria-label": "Pages" }, step(-1, "Before", "["), `${page} of ${pages}`, step(1, "After", "]"));
}
const number = (value) => value == null ? "" : typeof value === "number" ? String(Number(value.toPrecision(4))) : String(value);
const visible = (text) => text.replace(CONTROL, (char) => {
  const code = char.charCodeAt(0);
  return code < 32 ? String.fromCharCode(0x2400 + code) : `\u2039U+${code.toString(16).toUpperCase().padStart(4, "0")}\u203a`;
});
function text(of) {
  const shown = visible(of ?? ""), made = element("p", { class: "text", dir: "auto" });
  made.textContent = shown.slice(0, LONGEST) || "(nothing)";
  if (shown.length <= LONGEST) return [made];
  const more = element("button", { type: "button", onclick: () => { made.textContent = shown; more.remove(); } },
    `Show all ${shown.length.toLocaleString("en")} characters`);
  return [made, more];
}
function mark(name, value, kind = "") {
  return element("li", { title: explained(name), class: kind }, value);
}

// Texts
async function showTexts(is) {
  const blocks = parts("texts").map((name) => name.split("/"));
  if (!blocks.length) return { said: "This study steers no model, so there are no texts.", made: [], controls: [] };
  const models = unique(blocks.map(([model]) => model)), model = models.includes(is.model) ? is.model : models[0];
  const layers = blocks.filter(([name]) => name === model).map(([, layer]) => layer);
  const layer = layers.includes(is.layer) ? is.layer : layers[0];
  const rows = rowsOf(await part(`texts/${model}/${layer}`));
  const scenarios = unique(rows.map((row) => row.scenario)).sort();
  const scenario = scenarios.includes(is.scenario) ? is.scenario : scenarios[0];
  const arms = unique(rows.map((row) => row.arm)).filter((arm) => arm !== about.baseline)
    .sort((a, b) => (a !== about.probe) - (b !== about.probe) || a.localeCompare(b, "en", { numeric: true }));
  const alphas = unique(rows.map((row) => row.alpha)).sort(byNumber);
  const within = alphas.filter((alpha) => Math.abs(alpha) <= about.limit);
  const chosenArms = is.arms ? is.arms.split(",") : [about.probe];
  const chosen = is.alphas ? is.alphas.split(",") : unique([within[0], 0, within.at(-1)]).map(String);
  const only = is.only || "all", find = (is.find || "").toLowerCase(), sort = is.sort || "sample";
  const own = rows.filter((row) => row.scenario === scenario && chosen.includes(String(row.alpha)) &&
    (chosenArms.includes(row.arm) || row.arm === about.baseline));
  const hit = (row) => (!find || row.text.toLowerCase().includes(find)) &&
    (only === "all" || (only === "incoherent" ? !row.coherent : row[only] === true));
  const groups = unique(own.filter(hit).map((row) => row.sample)).map((sample) => own.filter((row) => row.sample === sample));
  const worth = (group) => Math.max(...group.filter((row) => row.arm !== about.baseline).map((row) => row[sort] ?? -Infinity));
  groups.sort((a, b) => (sort === "sample" ? 0 : worth(b) - worth(a)) || a[0].sample - b[0].sample);
  const pages = Math.max(1, Math.ceil(groups.length / PAGE.texts)), page = Math.min(pages, Math.max(1, Number(is.page) || 1));
  const place = (row) => [row.alpha, row.arm === about.baseline ? -1 : arms.indexOf(row.arm)];
  const made = groups.slice((page - 1) * PAGE.texts, page * PAGE.texts).map((group) => element("section", {},
    element("h2", {}, `Sample ${group[0].sample}`),
    element("div", { class: "samples" }, ...group.sort((a, b) => place(a)[0] - place(b)[0] || place(a)[1] - place(b)[1]).map(card))));
  const few = about.samples.shown < about.samples.all ? ` This page holds ${about.samples.shown} of ${about.samples.all} samples; all are in the tables of scores.` : "";
  return {
    said: `${groups.length} samples of ${model}, block ${layer}, ${scenario}: those of one number share their random numbers.${few}`,
    made: [...made, pager(page, pages)],
    controls: [select("model", "Model", models, model), select("layer", "Block", layers, layer), select("scenario", "Scenario", scenarios, scenario),
      boxes("alphas", `Alpha (${about.unit})`, alphas, chosen), boxes("arms", "Arm", arms, chosenArms),
      select("only", "Only samples with a text that is", ["all", "positive", "negative", "coherent", "incoherent"], only, { all: "any" }),
      select("sort", "Highest first", ["sample", "evidence", "nll", "kl", "incoherence"], sort, { sample: "by number" }), search(is.find, "Search")],
  };
}
function card(row) {
  const side = row.positive == null ? mark("positive", "? no rating") : row.positive ? mark("positive", "\u25b2 positive", "good")
    : row.negative ? mark("negative", "\u25bc negative", "bad") : mark("evidence", "\u25cf neither");
  const whole = row.coherent ? mark("coherent", "coherent") : mark("coherent", "\u2716 incoherent", "bad");
  const others = Object.keys(row).filter((name) => name.startsWith("evidence_"));
  return element("article", {}, element("h3", {}, `alpha ${number(row.alpha)}, ${row.arm}`),
    element("ul", { class: "marks" }, side, whole, ...["evidence", ...others, "nll", "kl"].map((name) => mark(name, `${spoken(name)} ${number(row[name])}`))),
    ...text(row.text));
}

// Games, turn by turn
async function showGames(is) {
  const models = parts("games"), model = models.includes(is.model) ? is.model : models[0];
  if (!model) return { said: "This study plays no games.", made: [], controls: [] };
  let rows = rowsOf(await part(`games/${model}`));
  const controls = [select("model", "Model", models, model)], labels = { game: "Game", variant: "Variant", layer: "Block", arm: "Arm", alpha: "Alpha", seed: "Episode" };
  for (const [name, label] of Object.entries(labels)) {
    if (!rows.length || !(name in rows[0])) continue;
    const values = unique(rows.map((row) => row[name] ?? "none")).map(String);
    const value = values.includes(is[name]) ? is[name] : values[0];
    controls.push(select(name, label, values, value));
    rows = rows.filter((row) => String(row[name] ?? "none") === value);
  }
  rows.sort((a, b) => a.turn - b.turn);
  const page = Math.min(rows.length, Math.max(1, Number(is.page) || 1)), row = rows[page - 1];
  const fact = (name) => row[name] == null || row[name] === "" ? [] : [element("dt", { title: explained(name) }, spoken(name)), element("dd", {}, ...text(String(row[name])))];
  const made = row ? [pager(page, rows.length), element("article", {}, element("h2", {}, `Turn ${row.turn}`),
    element("h3", {}, "What the player was shown"), ...text(row.observation), element("h3", {}, "What it answered"), ...text(row.answer),
    element("dl", {}, ...["outcome", "reason", "action", "needed", "task", "reward", "score", "reached", "log_odds"].flatMap(fact)))] : [];
  return { said: `An episode of ${rows.length} turns; the last one's score is ${rows.length ? number(rows.at(-1).score) : ""}.`, made, controls };
}

// Tables
const FORMATS = { page: "a table", markdown: "Markdown", latex: "LaTeX", csv: "CSV" };
const LATEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}" };
function written(format, headers, rows) {
  const cells = rows.map((row) => headers.map((header) => visible(number(row[header])).replace(/\s+/g, " ")));
  if (format === "csv") return [headers, ...cells].map((row) => row.map((cell) => /[",]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell).join(",")).join("\n");
  if (format === "markdown") {
    const inert = (cell) => cell.replace(/[\\`*_[\]<>|~$]/g, "\\$&");
    return [headers.map(spoken), headers.map(() => "---"), ...cells].map((row) => `| ${row.map((cell) => cell === "---" ? cell : inert(cell)).join(" | ")} |`).join("\n");
  }
  const inert = (cell) => cell.replace(/[\\~^{}&%$#_]/g, (char) => LATEX[char] ?? "\\" + char);
  const lines = cells.map((row) => row.map(inert).join(" & ") + " \\\\");
  return [`\\begin{tabular}{${"l".repeat(headers.length)}}`, "\\toprule", headers.map(spoken).map(inert).join(" & ") + " \\\\", "\\midrule", ...lines, "\\bottomrule", "\\end{tabular}"].join("\n");
}
async function showTables(is) {
  const names = parts("tables"), name = names.includes(is.table) ? is.table : names.includes("verdict") ? "verdict" : names[0];
  const columns = await part(`tables/${name}`), headers = Object.keys(columns), find = (is.find || "").toLowerCase();
  let rows = rowsOf(columns);
  const all = rows.length;
  if (find) rows = rows.filter((row) => headers.some((header) => String(row[header] ?? "").toLowerCase().includes(find)));
  const by = headers.includes(is.sort) ? is.sort : null, down = is.dir === "down" ? -1 : 1;
  if (by) rows.sort((a, b) => (a[by] == null) - (b[by] == null) ||
    down * (typeof a[by] === "number" && typeof b[by] === "number" ? a[by] - b[by] : String(a[by]).localeCompare(String(b[by]), "en", { numeric: true })));
  const pages = Math.max(1, Math.ceil(rows.length / PAGE.tables)), page = Math.min(pages, Math.max(1, Number(is.page) || 1));
  const format = is.as in FORMATS ? is.as : "page", asked = select("as", "As", Object.keys(FORMATS), format, FORMATS);
  const controls = [select("table", "Table", names, name), search(is.find, "Filter"), asked];
  const said = `${rows.length.toLocaleString("en")} of ${all.toLocaleString("en")} rows of tables/${name}.csv.${about.rows[name] > all ? ` The file has ${about.rows[name].toLocaleString("en")}; this page holds the first.` : ""}`;
  if (format !== "page") {
    const text = element("textarea", { readonly: true, rows: 24, "aria-label": `${name} as ${FORMATS[format]}`, onfocus: (event) => event.target.select() });
    text.value = written(format, headers, rows);
    return { said, made: [text], controls };
  }
  const head = headers.map((header) => element("th", { scope: "col", "aria-sort": by !== header ? null : down < 0 ? "descending" : "ascending", title: explained(header) },
    element("button", { type: "button", onclick: () => go({ sort: header, dir: by === header && down > 0 ? "down" : "", page: "" }) },
      spoken(header) + (by !== header ? "" : down < 0 ? " \u25bc" : " \u25b2"))));
  const body = rows.slice((page - 1) * PAGE.tables, page * PAGE.tables).map((row) => element("tr", {}, ...headers.map((header) => {
    const value = visible(number(row[header])).slice(0, LONGEST);
    return element("td", { "data-name": spoken(header), class: value.length > 24 ? "long" : "short" }, value);
  })));
  const table = element("table", { class: headers.length > WIDE ? "wide" : "" }, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body));
  return {
    said,
    made: [element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table ${name}` }, table), pager(page, pages)],
    controls,
  };
}

async function show() {
  const turn = ++drawn, is = state(), views = { texts: showTexts, games: showGames, tables: showTables };
  const view = is.view in views ? is.view : parts("texts").length ? "texts" : "tables";
  const { said, made, controls } = await views[view](is);
  if (turn !== drawn) return;  // a later one is under way
  const at = document.activeElement, focus = at && $("controls").contains(at) ? [at.name, at.value, at.selectionStart] : null;
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-current", button.dataset.view === view);
  $("said").textContent = said;
  $("controls").replaceChildren(...controls);
  $("main").replaceChildren(...made);
  if (focus) {
    const again = [...$("controls").elements].find((one) => one.name === focus[0] && (one.type !== "checkbox" || one.value === focus[1]));
    if (again) { again.focus(); if (again.type === "search") again.setSelectionRange(focus[2], focus[2]); }
  }
  document.body.dataset.view = view;
}
async function start() {
  about = await unpack("about");
  document.querySelector("[data-view=games]").hidden = !parts("games").length;
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => go({ view: button.dataset.view, page: "", sort: "", find: "", dir: "" }));
  for (const [term, meaning] of Object.entries(about.glossary)) $("glossary").querySelector("dl").append(element("dt", {}, spoken(term)), element("dd", {}, meaning));
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", show);
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || ["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
    if (event.key === "/") { event.preventDefault(); document.querySelector("input[type=search]")?.focus(); }
    if (event.key === "[" || event.key === "]") document.querySelector(`[aria-keyshortcuts="${event.key}"]`)?.click();
  });
  await show();
}
start();
