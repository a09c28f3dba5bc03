// A picture that flashes at the beginning of each second of the wall clock, published by WHIP; run by
// test_several_streams.py, whose other publishers flash by the same clock.

window.publishClock = async (url) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  document.body.append(canvas);
  const pen = canvas.getContext("2d", { alpha: false });
  setInterval(() => {
    pen.fillStyle = Date.now() % 1000 < 100 ? "#fff" : "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
  }, 1000 / 30);
  const media = canvas.captureStream(30);
  const pc = (window.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" }));
  const video = pc.addTransceiver(media.getVideoTracks()[0], { direction: "sendonly", streams: [media] });
  const { codecs } = RTCRtpSender.getCapabilities("video");
  video.setCodecPreferences(codecs.filter((one) => /\/(h264|rtx)$/i.test(one.mimeType)));
  await pc.setLocalDescription();
  const offer = { method: "POST", body: pc.localDescription.sdp, headers: { "content-type": "application/sdp" } };
  const created = await fetch(url, offer);
  await pc.setRemoteDescription({ type: "answer", sdp: await created.text() });
  return created.status;
};
