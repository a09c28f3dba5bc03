// Publishes a camera by WHIP with one codec and watches by WHEP, also by TCP or another port; run by
// test_browser_codecs.py, test_picture_size.py and test_slow_viewer.py.

const without = (transport, sdp) => sdp.replace(new RegExp(`a=candidate:\\S+ 1 ${transport} .*\r\n`, "g"), "");
const WAYS = {
  any: (sdp) => sdp,
  tcp: (sdp) => without("udp", sdp),
  port: (sdp, port) => without("tcp", sdp).replace(/(a=candidate:\S+ 1 udp \d+ \S+ )\d+/g, `$1${port}`),
};

/** `way` is one of WAYS; the last takes another port than the server's. */
const exchange = async (pc, url, way = "any", port = 0) => {
  await pc.setLocalDescription();
  const offer = { method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" } };
  const created = await fetch(url, offer);
  const answer = await created.text();
  if (created.status !== 201) throw new Error(`${created.status} ${answer}`);
  await pc.setRemoteDescription({ type: "answer", sdp: WAYS[way](answer, port) });
  return new URL(created.headers.get("location"), created.url).href;
};

window.publish = async (url, codec, way) => {
  const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 320, height: 180 } });
  const pc = (window.publisher = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  for (const track of media.getTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [media] });
  const video = pc.getTransceivers().find((one) => one.sender.track.kind === "video");
  const { codecs } = RTCRtpSender.getCapabilities("video");
  video.setCodecPreferences(codecs.filter((one) => [`video/${codec}`, "video/rtx"].includes(one.mimeType)));
  window.session = await exchange(pc, url, way);
};

window.watch = async (url, way, port) => {
  const pc = (window.viewer = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  const media = new MediaStream();
  pc.ontrack = ({ track }) => media.addTrack(track);
  for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  await exchange(pc, url, way, port);
  window.seen = Object.assign(document.createElement("video"), { muted: true, srcObject: media });
  document.body.append(window.seen);
  window.seen.play();
};

/** What has arrived at a viewer, by kind, once sound and so many pictures have. */
window.receivedEnough = async (pictures, viewer = window.viewer) => {
  const reports = await viewer.getStats();
  const found = {};
  for (const one of reports.values()) {
    if (one.type === "inbound-rtp") found[one.kind] = { ...one, codec: reports.get(one.codecId)?.mimeType };
  }
  return found.audio?.packetsReceived && found.video?.framesDecoded >= pictures ? found : null;
};

/** Pictures are sent with so many times fewer lines and columns. */
window.scaleDown = async (factor) => {
  const sender = window.publisher.getSenders().find((one) => one.track.kind === "video");
  const parameters = sender.getParameters();
  parameters.encodings[0].scaleResolutionDownBy = factor;
  await sender.setParameters(parameters);
};

window.end = async () => {
  await fetch(window.session, { method: "DELETE" });
  window.publisher.close();
};

window.stop = async () => {
  await window.end();
  window.viewer.close();
  window.seen.remove();
};

/** How many key frames the publisher has made. */
window.keyFrames = async () => {
  const reports = [...(await window.publisher.getStats()).values()];
  return reports.find((one) => one.type === "outbound-rtp" && one.kind === "video").keyFramesEncoded;
};
