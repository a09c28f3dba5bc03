// The page: choose a source, see it, record it, get the file.

import { Meter } from "./meter.js";
import * as recordings from "./recordings.js";
import * as sources from "./sources.js";
import { Whip } from "./whip.js";
import { TROUBLE, ofMedia, whyNoMedia } from "./words.js";

const $ = (id) => document.getElementById(id);
const controls = $("controls");
const button = $("record");
const preview = $("preview");
const meter = new Meter($("level"));

/** One of: idle (no source), ready, starting, recording, stopping. */
let state = "idle";
let stream = null;
let whip = null;
let session = null;
let wakeLock = null;
let clockTimer = 0;
let opening = 0;

function show(next) {
  state = next;
  const is_busy = next === "starting" || next === "recording" || next === "stopping";
  for (const one of controls.elements) if (one !== button) one.disabled = is_busy;
  // A disabled button loses the focus, and whoever works by keyboard the place to go on from.
  button.disabled = next === "idle";
  button.ariaDisabled = String(next !== "ready" && next !== "recording");
  const words = { starting: "Starting…", recording: "Stop", stopping: "Finishing the file…" };
  button.textContent = words[next] ?? "Start recording";
  button.classList.toggle("primary", next !== "recording");
  button.classList.toggle("stop", next === "recording");
  $("live").hidden = next !== "recording";
  document.body.dataset.state = next;
}

function say(text, { isError = false } = {}) {
  $("notice").textContent = text;
  $("notice").hidden = !text;
  $("notice").classList.toggle("error", isError);
}

/** What stands where there is no picture. */
function hold(text, { canTryAgain = false } = {}) {
  $("placeholder").hidden = !text;
  $("placeholder-text").textContent = text;
  $("again").hidden = !canTryAgain;
}

const kind = () => new FormData(controls).get("kind") ?? "camera";

// The source

async function openSource() {
  const number = ++opening;
  show("idle");
  release();
  $("camera-field").hidden = kind() !== "camera";
  hold(kind() === "screen" ? "Choose a screen…" : "Waiting for permission…");
  const wanted = { kind: kind(), camera: $("camera").value, microphone: $("microphone").value };
  try {
    const opened = await sources.open(wanted);
    if (number !== opening) return sources.close(opened);
    stream = opened;
  } catch (error) {
    if (number !== opening) return undefined;
    hold("No picture", { canTryAgain: true });
    await listDevices();
    return say(ofMedia(error, wanted.kind), { isError: true });
  }
  say("");
  await follow();
  show("ready");
  return undefined;
}

async function follow() {
  const has_picture = stream.getVideoTracks().length > 0;
  preview.srcObject = stream;
  document.querySelector(".stage").classList.toggle("mirrored", kind() === "camera" && isSelfie());
  hold(has_picture ? "" : "Sound only");
  meter.follow(stream);
  for (const track of stream.getTracks()) track.addEventListener("ended", sourceEnded);
  await listDevices();
  select($("camera"), stream.getVideoTracks()[0]);
  select($("microphone"), stream.getAudioTracks()[0]);
}

/** A front camera is seen as in a mirror; the recording is not mirrored. */
function isSelfie() {
  return stream.getVideoTracks()[0]?.getSettings().facingMode === "user";
}

function select(list, track) {
  const { deviceId } = track?.getSettings() ?? {};
  if ([...list.options].some((one) => one.value === deviceId)) list.value = deviceId;
}

async function listDevices() {
  await sources.list($("camera"), "videoinput");
  await sources.list($("microphone"), "audioinput", { hasNone: true });
}

function release() {
  meter.stop();
  stream?.getTracks().forEach((track) => track.removeEventListener("ended", sourceEnded));
  sources.close(stream);
  stream = null;
  preview.srcObject = null;
}

/** Somebody pulled the plug, or ended sharing the screen. */
function sourceEnded() {
  if (state === "recording") stop("The source has ended, and the recording with it.");
  else if (state === "ready") openSource();
}

// Recording

async function start() {
  show("starting");
  say("");
  $("result").hidden = true;
  const name = $("name").value.trim();
  whip = new Whip(`/whip/${encodeURIComponent(name)}`, $("token").value);
  whip.onlost = (message) => stop(message, { isError: true });
  whip.onconnection = (is_there) => state === "recording" && say(is_there ? "" : TROUBLE, { isError: !is_there });
  try {
    await whip.start(stream);
  } catch (error) {
    if (error.status === 401) $("token-field").hidden = false;
    say(error.message, { isError: true });
    return show("ready");
  }
  session = recorded(name);
  show("recording");
  startClock();
  wakeLock = await navigator.wakeLock?.request("screen").catch(() => null);
  return undefined;
}

/** The media session, once the server is known to record it. */
async function recorded(name) {
  const id = await recordings.sessionOf(name).catch(() => null);
  if (id) {
    await recordings.ensureRecorded(name, id).catch((error) => {
      // A server that does not answer at all is told of when the stream is lost.
      if (error instanceof recordings.Refused) say("The server takes the stream but does not record it.", { isError: true });
    });
  }
  return id;
}

async function stop(why = "", options = {}) {
  if (state !== "recording") return;
  show("stopping");
  stopClock();
  say(why, options);
  const id = await session;
  await whip.stop();
  wakeLock?.release().catch(() => {});
  await offer($("name").value.trim(), id, why);
  $("name").value = freshName();
  if (stream?.getTracks().every((track) => track.readyState === "live")) show("ready");
  else await openSource();
}

/** Shows what came of it. `lost` says why there may be nothing. */
async function offer(name, id, lost) {
  const recording = id && (await recordings.finished(name, id).catch(() => null));
  const files = recording ? recordings.playable(recording) : [];
  if (!files.length) {
    const why = recording?.error ? ` (${recording.error})` : "";
    say(lost || `No file came of it${why}. “All recordings” lists what the server has.`, { isError: true });
    return;
  }
  $("result-title").textContent = name;
  playInTurn(files);
  const size_mb = recording.size_bytes / 1e6;
  $("facts").textContent = `${clock(recording.duration_ms)} · ${size_mb.toFixed(1)} MB`;
  $("files").replaceChildren(...files.map(link));
  $("result").hidden = false;
  // At once: a page that still moves takes the button away from under a click.
  $("result").scrollIntoView({ block: "nearest" });
}

/** A recording may have several files: each goes on where the one before it ends. */
function playInTurn(files) {
  const player = $("player");
  let at = 0;
  player.src = files[at].play_url;
  player.onended = () => {
    at = (at + 1) % files.length;
    if (files.length > 1) player.src = files[at].play_url;
    if (at) player.play();
  };
}

function link(file) {
  const anchor = document.createElement("a");
  anchor.href = file.download_url;
  anchor.download = file.file_name.split("/").pop();
  anchor.textContent = `Download ${anchor.download}`;
  const item = document.createElement("li");
  item.append(anchor);
  return item;
}

// The clock

function startClock() {
  const began_ms = performance.now();
  const tick = () => ($("clock").textContent = clock(performance.now() - began_ms));
  tick();
  clockTimer = setInterval(tick, 250);
}

function stopClock() {
  clearInterval(clockTimer);
}

function clock(duration_ms) {
  const seconds = Math.floor(duration_ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function freshName() {
  return `browser-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}`;
}

// What people do

controls.addEventListener("submit", (event) => {
  event.preventDefault();
  button.focus();
  if (state === "ready") start();
  else if (state === "recording") stop();
});
for (const one of [$("camera"), $("microphone"), $("kinds")]) one.addEventListener("change", openSource);
$("again").addEventListener("click", openSource);
addEventListener("beforeunload", (event) => state === "recording" && event.preventDefault());
addEventListener("pagehide", () => whip?.stop());

$("screen-choice").hidden = !navigator.mediaDevices?.getDisplayMedia;
$("name").value = freshName();
show("idle");
const obstacle = whyNoMedia();
if (obstacle) {
  hold("No picture");
  say(obstacle, { isError: true });
  for (const one of controls.elements) one.disabled = true;
} else {
  navigator.mediaDevices.addEventListener("devicechange", () => state === "ready" && listDevices());
  openSource();
}
