// Publishes a camera by WHIP with one codec and watches by WHEP; run by test_browser_codecs.py.

const exchange = async (pc, url) => {
  await pc.setLocalDescription();
  const offer = { method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" } };
  const created = await fetch(url, offer);
  const answer = await created.text();
  if (created.status !== 201) throw new Error(`${created.status} ${answer}`);
  await pc.setRemoteDescription({ type: "answer", sdp: answer });
  return new URL(created.headers.get("location"), created.url).href;
};

window.publish = async (url, codec) => {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 180 } });
  const pc = (window.publisher = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  for (const track of media.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
  const video = pc.getTransceivers().find((one) => one.sender.track.kind === "video");
  const { codecs } = RTCRtpSender.getCapabilities("video");
  video.setCodecPreferences(codecs.filter((one) => [`video/${codec}`, "video/rtx"].includes(one.mimeType)));
  window.session = await exchange(pc, url);
};

window.watch = async (url) => {
  const pc = (window.viewer = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  const media = new MediaStream();
  pc.ontrack = ({ track }) => media.addTrack(track);
  for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  await exchange(pc, url);
  window.seen = Object.assign(document.createElement("video"), { muted: true, srcObject: media });
  document.body.append(window.seen);
  window.seen.play();
};

/** What has arrived at the viewer, by kind, once sound and so many pictures have. */
window.receivedEnough = async (pictures) => {
  const reports = await window.viewer.getStats();
  const found = {};
  for (const one of reports.values()) {
    if (one.type === "inbound-rtp") found[one.kind] = { ...one, codec: reports.get(one.codecId)?.mimeType };
  }
  return found.audio?.packetsReceived && found.video?.framesDecoded >= pictures ? found : null;
};

window.stop = async () => {
  await fetch(window.session, { method: "DELETE" });
  window.publisher.close();
  window.viewer.close();
  window.seen.remove();
};
