/** The page: takes files, sends them a few at a time, and keeps list, model and key up to date. */

import { fetchModel, hasKey, predict, Problem, useKey } from "./api.js";
import { message, quote, say, startLanguage, translateAll } from "./language.js";
import { render } from "./markdown.js";
import { Queue } from "./queue.js";
import { withReliability } from "./reliability.js";
import { percent, Result } from "./result.js";

/** Requests at a time: enough to share a batch, and few enough to leave the service to others. */
const MOST_REQUESTS = 3;
/** Images on the page at a time: each keeps its preview in the browser's memory. */
const MOST_RESULTS = 100;
const MOST_SPOKEN = 20;
const DIGEST_LENGTH = 12;

const find = (id) => document.getElementById(id);
const queue = new Queue(MOST_REQUESTS);
const results = new Set();
/** Of the model and of its data: the elements that the dialog shows. */
const cards = { card: [], dataCard: [] };
let shownDigest = null;

startLanguage();
takeFiles();
takeKey();
offerCommand();
offerCards();
find("remove-all").addEventListener("click", removeAll);
showModel();

function takeFiles() {
  find("files").addEventListener("change", (event) => {
    addFiles([...event.target.files]);
    event.target.value = ""; // So that the same file can be chosen again.
  });
  // Wherever a file is dropped: beside a target, the browser would leave the page for it.
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("is-dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("is-dragging");
  });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.remove("is-dragging");
    addFiles([...event.dataTransfer.files]);
  });
}

function addFiles(files) {
  const taken = files.slice(0, MOST_RESULTS - results.size);
  const count = files.length - taken.length;
  find("left-out").hidden = !count;
  if (count) say(find("left-out"), "leftOut", { count, most: MOST_RESULTS });
  for (const file of taken) {
    const result = new Result(file, { onRemove: remove, onAgain: start });
    results.add(result);
    find("results").append(result.element);
    start(result);
  }
}

function start(result) {
  result.wait();
  const { signal } = result.abort;
  queue.add(async () => {
    if (signal.aborted) return;
    const hadKey = hasKey();
    try {
      result.send();
      const answer = await predict(result.file, signal, (seconds) => result.postpone(seconds));
      await result.answer(answer);
      if (answer.model.digest !== shownDigest) showModel(); // The service was started with another one.
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof Problem)) console.error(error);
      result.fail(error instanceof Problem ? error : new Problem(0, { code: "unusable" }));
      if (error.status === 401) askForKey(hadKey);
    }
    if (signal.aborted) return;
    speak(result.spoken());
    summarise();
  });
  summarise();
}

function remove(result) {
  const buttons = [...document.querySelectorAll(".remove")];
  const at = buttons.indexOf(result.element.querySelector(".remove"));
  (buttons[at + 1] ?? buttons[at - 1] ?? find("files")).focus();
  result.remove();
  results.delete(result);
  find("left-out").hidden = true;
  speak(message("removed", { name: result.file.name }));
  summarise();
}

function removeAll() {
  for (const result of results) result.remove();
  results.clear();
  find("left-out").hidden = true;
  find("files").focus();
  speak(message("removedAll"));
  summarise();
}

function summarise() {
  const count = (state) => [...results].filter((result) => result.state === state).length;
  const counts = { total: results.size, answered: count("answered"), failed: count("failed"), open: count("open") };
  say(find("summary"), results.size ? "summary" : "none", counts);
  find("remove-all").hidden = results.size < 2;
}

/** Have a screen reader say something, after what it is saying. */
function speak(text) {
  const line = document.createElement("p");
  line.textContent = text;
  find("spoken").append(line);
  if (find("spoken").childElementCount > MOST_SPOKEN) find("spoken").firstElementChild.remove();
}

async function showModel() {
  const state = find("model-state");
  const hadKey = hasKey();
  try {
    const answer = await fetchModel((seconds) => say(state, "modelBusy", { seconds }));
    const { digest, engine, input_gate: gate, metadata, card, data_card: dataCard } = answer;
    say(find("model-name"), "modelVersion", metadata);
    quote(find("model-note"), metadata.note, "en");
    quote(find("model-threshold"), percent(metadata.threshold));
    quote(find("model-engine"), engine, "en");
    say(find("model-gate"), `gate_${gate}`);
    quote(find("model-digest"), digest.slice(0, DIGEST_LENGTH));
    shownDigest = digest;
    cards.card = [...withReliability(render(card), metadata.metrics.test?.calibration).childNodes];
    cards.dataCard = [...render(dataCard ?? "").childNodes];
    find("open-data-card").hidden = !dataCard;
    state.hidden = true;
    find("model").hidden = false;
  } catch (problem) {
    state.hidden = false;
    if (problem.detail) quote(state, problem.detail, "en");
    else say(state, problem.status ? "statusOnly" : "unreachable", { status: problem.status });
    if (problem.status === 401) askForKey(hadKey);
  }
}

function askForKey(wasRefused) {
  say(find("key-note"), wasRefused ? "keyRefused" : "keyNote");
  if (!find("key-form").hidden) return;
  find("key-form").hidden = false;
  find("key").focus();
}

function takeKey() {
  find("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = find("key").value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) {
      say(find("key-note"), "keyMalformed");
      return;
    }
    useKey(key);
    find("key").value = "";
    find("key-form").hidden = true;
    find("files").focus();
    showCommand();
    showModel();
    for (const result of results) if (result.problem?.status === 401) start(result);
  });
}

/** The line sends no file name: what curl's `-F` sends along can name a patient. */
function showCommand() {
  const address = new URL("predict?explain=true", document.baseURI);
  const header = hasKey() ? ' -H "Authorization: Bearer $CXR_API_KEY"' : "";
  find("command").textContent = `curl --data-binary @image.dcm${header} "${address}"`;
}

function offerCommand() {
  showCommand();
  find("copy").addEventListener("click", async () => {
    const isCopied = await copy(find("command"));
    say(find("copied"), isCopied ? "copied" : "notCopied");
  });
}

/** Copy an element's text; where the page was not loaded over HTTPS, browsers have the old way alone. */
async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(element);
    return document.execCommand("copy");
  }
}

function offerCards() {
  find("open-card").addEventListener("click", () => openCard("card"));
  find("open-data-card").addEventListener("click", () => openCard("dataCard"));
  find("close-card").addEventListener("click", () => find("card").close());
}

/** @param {"card" | "dataCard"} which */
function openCard(which) {
  say(find("card-title"), which);
  find("card-text").replaceChildren(...cards[which]);
  translateAll(find("card-text"));
  find("card").showModal();
}
