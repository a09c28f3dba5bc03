// A picture that flashes and a sound that beeps in each second, published by WHIP; run by test_bad_path.py and
// by bench/bench_loss.py. Each picture tells the sound's time at which it was drawn (see helpers/told_times.py).

const WIDTH = 640, HEIGHT = 360;
const BITS = 20, BITS_TOP = 256 / 360, BITS_BOTTOM = 288 / 360;

/** Flashes fill the upper part; a line of bits tells milliseconds; below is noise, for there to be much to send. */
const makeMedia = async (seconds) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  document.body.append(canvas);
  window.turn = () => Object.assign(canvas, { width: canvas.height, height: canvas.width });
  const pen = canvas.getContext("2d", { alpha: false });
  const sound = new AudioContext({ sampleRate: 48000 });
  await sound.resume();
  const target = sound.createMediaStreamDestination();
  const tone = sound.createOscillator(), volume = sound.createGain();
  tone.frequency.value = 1000;
  volume.gain.value = 0;
  tone.connect(volume).connect(target);
  tone.start();
  const start = sound.currentTime;
  for (let second = 1; second < seconds; second++) {
    volume.gain.setValueAtTime(0.8, start + second);
    volume.gain.setValueAtTime(0, start + second + 0.2);
  }
  window.soundTime = () => sound.currentTime - start;
  let drawnAt = performance.now();
  window.longestPause = 0;
  setInterval(() => {
    const now = window.soundTime(), told = Math.round(now * 1000), pause = performance.now() - drawnAt;
    drawnAt += pause;
    window.longestPause = Math.max(window.longestPause, pause);
    const { width, height } = canvas, top = height * BITS_TOP, bottom = height * BITS_BOTTOM;
    pen.fillStyle = now >= 1 && now % 1 < 0.2 ? "#fff" : "#000";
    pen.fillRect(0, 0, width, top);
    for (let bit = 0; bit < BITS; bit++) {
      pen.fillStyle = (told >> bit) & 1 ? "#fff" : "#000";
      pen.fillRect((bit * width) / BITS, top, width / BITS, bottom - top);
    }
    for (let block = 0; block < 40; block++) {
      pen.fillStyle = `hsl(${Math.random() * 360} 80% 50%)`;
      pen.fillRect(Math.random() * width, bottom + (height - bottom) * Math.random(), 16, 16);
    }
  }, 1000 / 30);
  return new MediaStream([...canvas.captureStream(30).getVideoTracks(), ...target.stream.getAudioTracks()]);
};

/** Leads the answer's media to another port on loopback, by UDP alone. The new answer and the port it named. */
const detour = (answer, port) => {
  const lines = answer.split("\r\n");
  const candidate = /^(a=candidate:\S+ 1 udp \S+ )\S+ (\d+)( typ host.*)$/i;
  const theirs = lines.map((line) => candidate.exec(line)).find(Boolean);
  const sdp = lines
    .filter((line) => !line.startsWith("a=candidate"))
    .flatMap((line) => (/^a=mid:/.test(line) ? [line, `${theirs[1]}127.0.0.1 ${port}${theirs[3]}`] : [line]));
  return { sdp: sdp.join("\r\n"), port: Number(theirs[2]) };
};

/** Publishes with one codec, the size kept; beeps end after `seconds`, nothing is sent of silence with `dtx`.
    The answer's port, for which `port` stands. */
window.publishFlashes = async (url, codec, { port = 0, seconds = 60, dtx = false } = {}) => {
  const media = await makeMedia(seconds);
  const pc = (window.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  for (const track of media.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
  const video = pc.getTransceivers().find((one) => one.sender.track.kind === "video");
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const wanted = (one) => new RegExp(`/(${codec}|rtx)$`, "i").test(one.mimeType);
  video.setCodecPreferences(codecs.filter(wanted));
  const keepsSize = { ...video.sender.getParameters(), degradationPreference: "maintain-resolution" };
  await video.sender.setParameters(keepsSize);
  await pc.setLocalDescription();
  const offer = { method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" } };
  window.postedAt = window.soundTime();
  const created = await fetch(url, offer);
  window.session = new URL(created.headers.get("location"), created.url).href;
  const answer = (await created.text()).replace("useinbandfec=1", dtx ? "$&;usedtx=1" : "$&");
  const way = port ? detour(answer, port) : { sdp: answer, port: 0 };
  await pc.setRemoteDescription({ type: "answer", sdp: way.sdp });
  return way.port;
};

/** Takes a track away for some seconds and gives it back, as pages do that mute. */
window.mute = async (kind, seconds) => {
  const { sender } = window.pc.getTransceivers().find((one) => one.sender.track?.kind === kind);
  const { track } = sender;
  await sender.replaceTrack(null);
  await new Promise((done) => setTimeout(done, seconds * 1000));
  await sender.replaceTrack(track);
};

/** How sending goes: reports by kind, `path` is that of the candidates in use, `pause` the longest between drawings. */
window.sending = async () => {
  const reports = [...(await window.pc.getStats()).values()];
  const kinds = reports.filter((one) => one.type === "outbound-rtp").map((one) => [one.kind, one]);
  const path = reports.find((one) => one.type === "candidate-pair" && one.nominated);
  return { ...Object.fromEntries(kinds), path, pause: window.longestPause / 1000 };
};
