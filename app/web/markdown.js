/**
 * A card's Markdown as elements: headings, paragraphs, lists, tables, bold, code. Text goes in as text, so that nothing
 * in a card can become markup; what is not known here is shown as it is written. A backslash before a mark makes it text.
 */

/** The card's first heading becomes one of this level: it stands below the page's own. */
const TOP_LEVEL = 3;

/** @returns {DocumentFragment} */
export function render(markdown) {
  const fragment = new DocumentFragment();
  let block = null; // What the next line may continue: {kind, element}.
  for (const line of markdown.split("\n")) {
    block = line.trim() ? put(line, block, fragment) : null;
  }
  return fragment;
}

function put(line, block, fragment) {
  const [, hashes, title] = /^(#{1,6}) (.*)/.exec(line) ?? [];
  if (hashes) {
    fragment.append(element(`h${Math.min(hashes.length + TOP_LEVEL - 1, 6)}`, title));
    return null;
  }
  const [, indent, mark, item] = /^(\s*)([-*]|\d+\.) (.*)/.exec(line) ?? [];
  if (mark) return putItem(indent, mark, item, block, fragment);
  if (line.startsWith("|")) return putRow(line, block, fragment);
  if (block?.kind === "text") {
    block.element.append(" ", ...inline(line.trim()));
    return block;
  }
  const paragraph = element("p", line.trim());
  fragment.append(paragraph);
  return { kind: "text", element: paragraph };
}

function putItem(indent, mark, text, block, fragment) {
  const tag = /\d/.test(mark) ? "ol" : "ul";
  let list = block?.kind === "list" ? block.element : null;
  if (indent && list) {
    const parent = block.outer ?? list;
    const nested = parent.lastElementChild.querySelector(tag) ?? parent.lastElementChild.appendChild(element(tag));
    nested.append(element("li", text));
    return { kind: "list", element: nested, outer: parent };
  }
  list = block?.outer ?? list;
  if (list?.localName !== tag) fragment.append((list = element(tag)));
  list.append(element("li", text));
  return { kind: "list", element: list };
}

function putRow(line, block, fragment) {
  const cells = line.replace(/^\||\|\s*$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  if (cells.every((cell) => /^:?-+:?$/.test(cell))) return block; // The rule below a table's head.
  let table = block?.kind === "table" ? block.element : null;
  const isHead = !table;
  if (isHead) {
    table = element("table");
    const frame = element("div");
    frame.className = "table";
    frame.append(table);
    fragment.append(frame);
  }
  const row = table.appendChild(element("tr"));
  for (const cell of cells) {
    const made = row.appendChild(element(isHead ? "th" : "td", cell));
    if (isHead) made.scope = "col";
  }
  return { kind: "table", element: table };
}

function element(tag, text = "") {
  const made = document.createElement(tag);
  made.append(...inline(text));
  return made;
}

function inline(text) {
  return text.split(/(\*\*.+?\*\*|(?<!\\)`[^`]+`)/).map((part) => {
    const [, bold, code] = /^\*\*(.+)\*\*$|^`(.+)`$/.exec(part) ?? [];
    if (!bold && !code) return unescaped(part);
    const made = document.createElement(bold ? "strong" : "code");
    made.textContent = code ?? unescaped(bold);
    return made;
  });
}

function unescaped(text) {
  return text.replace(/\\([!-/:-@[-`{-~])/g, "$1");
}
