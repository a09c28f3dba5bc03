// A picture that flashes and a sound that beeps in each second, published by WHIP; run by test_bad_path.py.

const WIDTH = 640, HEIGHT = 360;

/** Flashes fill the upper part; below is noise, so that there is something to send. */
const makeMedia = async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  document.body.append(canvas);
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
  for (let second = 1; second < 120; second++) {
    volume.gain.setValueAtTime(0.8, start + second);
    volume.gain.setValueAtTime(0, start + second + 0.2);
  }
  setInterval(() => {
    const now = sound.currentTime - start;
    pen.fillStyle = now >= 1 && now % 1 < 0.2 ? "#fff" : "#000";
    pen.fillRect(0, 0, WIDTH, HEIGHT * 0.7);
    for (let block = 0; block < 40; block++) {
      pen.fillStyle = `hsl(${Math.random() * 360} 80% 50%)`;
      pen.fillRect(Math.random() * WIDTH, HEIGHT * (0.7 + 0.3 * Math.random()), 16, 16);
    }
  }, 1000 / 30);
  return new MediaStream([...canvas.captureStream(30).getVideoTracks(), ...target.stream.getAudioTracks()]);
};

/** Publishes with one codec, media by UDP alone; `port` takes the place of the answer's. The answer's port. */
window.publishFlashes = async (url, codec, port) => {
  const media = await makeMedia();
  const pc = (window.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  for (const track of media.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
  const video = pc.getTransceivers().find((one) => one.sender.track.kind === "video");
  const { codecs } = RTCRtpSender.getCapabilities("video");
  const wanted = (one) => new RegExp(`/(${codec}|rtx)$`, "i").test(one.mimeType);
  video.setCodecPreferences(codecs.filter(wanted));
  await pc.setLocalDescription();
  const offer = { method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" } };
  const created = await fetch(url, offer);
  window.session = new URL(created.headers.get("location"), created.url).href;
  const lines = (await created.text()).split("\r\n");
  const candidate = /^(a=candidate:\S+ 1 udp \S+ )\S+ (\d+)( typ host.*)$/i;
  const theirs = lines.map((line) => candidate.exec(line)).find(Boolean);
  const sdp = lines
    .filter((line) => !line.startsWith("a=candidate"))
    .flatMap((line) => (/^a=mid:/.test(line) ? [line, `${theirs[1]}127.0.0.1 ${port}${theirs[3]}`] : [line]));
  await pc.setRemoteDescription({ type: "answer", sdp: sdp.join("\r\n") });
  return Number(theirs[2]);
};

/** How sending goes, by kind. */
window.sending = async () => {
  const reports = [...(await window.pc.getStats()).values()].filter((one) => one.type === "outbound-rtp");
  return Object.fromEntries(reports.map((one) => [one.kind, one]));
};
