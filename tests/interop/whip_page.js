// What a page of another site does with WHIP and WHEP, step by step; run by test_whip.py.

const until = async (condition) => {
  while (!condition()) await new Promise((done) => setTimeout(done, 20));
};
const line = (sdp, name) => sdp.match(new RegExp(`a=${name}:.*`))[0].trim();
const CREDENTIALS = ["ice-ufrag", "ice-pwd"];

const post = (url, sdp) =>
  fetch(url, {
    method: "POST",
    body: sdp,
    headers: { "content-type": "application/sdp", authorization: "Bearer any" },
  });

const patch = (ifMatch, lines) =>
  fetch(window.session, {
    method: "PATCH",
    body: [...lines, ""].join("\r\n"),
    headers: { "content-type": "application/trickle-ice-sdpfrag", "if-match": ifMatch },
  });

/** Publishes camera and microphone, trickling; the statuses of POST and PATCH. */
window.publish = async (url) => {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
  const pc = (window.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  for (const track of stream.getTracks()) {
    pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  }
  const candidates = [];
  pc.onicecandidate = ({ candidate }) => candidate?.candidate && candidates.push(`a=${candidate.candidate}`);
  await pc.setLocalDescription();
  const created = await post(url, pc.localDescription.sdp);
  window.session = new URL(created.headers.get("location"), created.url).href;
  window.etag = created.headers.get("etag");
  await pc.setRemoteDescription({ type: "answer", sdp: await created.text() });
  await until(() => pc.iceGatheringState === "complete");
  const credentials = CREDENTIALS.map((name) => line(pc.localDescription.sdp, name));
  const trickled = await patch(window.etag, [...credentials, ...candidates, "a=end-of-candidates"]);
  await until(() => pc.connectionState === "connected");
  return [created.status, trickled.status];
};

/** Restarts ICE; the status of PATCH, and whether there is another entity tag. */
window.restart = async () => {
  const pc = window.pc;
  await pc.setLocalDescription(await pc.createOffer({ iceRestart: true }));
  const own = pc.localDescription.sdp;
  const answer = await patch("*", CREDENTIALS.map((name) => line(own, name)));
  const fragment = await answer.text();
  let sdp = pc.remoteDescription.sdp;
  for (const name of CREDENTIALS) {
    sdp = sdp.replace(new RegExp(`a=${name}:[^\r\n]*`, "g"), () => line(fragment, name));
  }
  await pc.setRemoteDescription({ type: "answer", sdp });
  await until(() => ["connected", "completed"].includes(pc.iceConnectionState));
  return [answer.status, answer.headers.get("etag") !== window.etag];
};

/** Watches; the path of the session. */
window.watch = async (url) => {
  const pc = (window.viewer = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  const media = new MediaStream();
  pc.ontrack = ({ track }) => media.addTrack(track);
  for (const kind of ["audio", "video"]) pc.addTransceiver(kind, { direction: "recvonly" });
  await pc.setLocalDescription();
  const created = await post(url, pc.localDescription.sdp);
  await pc.setRemoteDescription({ type: "answer", sdp: await created.text() });
  window.seen = document.createElement("video");
  Object.assign(window.seen, { muted: true, srcObject: media });
  document.body.append(window.seen);
  window.seen.play();
  return new URL(created.headers.get("location"), created.url).pathname;
};
