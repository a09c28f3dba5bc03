// Cameras, microphones and screens.

const VIDEO = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
const CLEAR_SOUND = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

export const NONE = "none";

/** Opens what was chosen. `microphone` may be NONE. Returns a MediaStream; raises what the browser raises. */
export async function open({ kind, camera, microphone }) {
  if (kind === "screen") return openScreen(microphone);
  const video = kind === "camera" ? { ...VIDEO, ...chosen(camera) } : false;
  const audio = microphone === NONE ? false : { ...CLEAR_SOUND, ...chosen(microphone) };
  return navigator.mediaDevices.getUserMedia({ video, audio });
}

/** The screen with its sound where the browser gives it, mixed with the microphone. */
async function openScreen(microphone) {
  const screen = await navigator.mediaDevices.getDisplayMedia({ video: VIDEO, audio: true });
  if (microphone === NONE) return screen;
  let voice;
  try {
    voice = await navigator.mediaDevices.getUserMedia({ audio: { ...CLEAR_SOUND, ...chosen(microphone) } });
  } catch (error) {
    close(screen);
    throw error;
  }
  const [own] = screen.getAudioTracks();
  const sound = own ? mixed(screen, voice) : voice;
  const stream = new MediaStream([...screen.getVideoTracks(), ...sound.getAudioTracks()]);
  stream.sources = [screen, voice, sound];
  return stream;
}

function mixed(...streams) {
  const context = new AudioContext();
  const mix = context.createMediaStreamDestination();
  for (const stream of streams) context.createMediaStreamSource(stream).connect(mix);
  mix.stream.context = context;
  return mix.stream;
}

export function close(stream) {
  for (const one of [stream, ...(stream?.sources ?? [])]) {
    one?.getTracks().forEach((track) => track.stop());
    one?.context?.close();
  }
}

/** Fills a select with the devices of a kind; keeps the choice where it still is there. */
export async function list(select, kind, { hasNone = false } = {}) {
  const before = select.value;
  const devices = (await navigator.mediaDevices.enumerateDevices()).filter((one) => one.kind === kind);
  const named = devices.map((one, i) => new Option(one.label || `Device ${i + 1}`, one.deviceId));
  const options = named.length ? named : [new Option("Standard device", "")];
  if (hasNone) options.push(new Option("No microphone", NONE));
  select.replaceChildren(...options);
  if (options.some((one) => one.value === before)) select.value = before;
}

function chosen(deviceId) {
  return deviceId ? { deviceId: { exact: deviceId } } : {};
}
