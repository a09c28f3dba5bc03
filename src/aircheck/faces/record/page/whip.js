// A WHIP client (RFC 9725): one offer, one answer, ICE restarts when the network changes.

import { LOST, NO_ANSWER, NO_CONNECTION, UNREACHABLE, ofAnswer } from "./words.js";

/** From the click to media that flows; whoever waits is told by then what is wrong. */
const START_MS = 10_000;
/** For an answer of a server that has answered before. */
const ANSWER_MS = 5_000;
const RESTART_AFTER_MS = 1_000;
const FRAGMENT = "application/trickle-ice-sdpfrag";

/** Something to be shown as it is. `status` is that of the server's answer, if it gave one. */
export class WhipError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export class Whip {
  /** Called with a message when the connection is lost for good. */
  onlost = () => {};
  /** Called with false when nothing gets through for the moment, with true when it does again. */
  onconnection = () => {};

  #url;
  #token;
  #pc;
  #session = "";
  #timer = 0;
  #was_lost = false;

  constructor(url, token) {
    this.#url = url;
    this.#token = token;
  }

  /** Sends the stream; returns when media flows. Raises WhipError. */
  async start(stream) {
    this.#pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    for (const track of stream.getTracks()) {
      this.#pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
    }
    const deadline = AbortSignal.timeout(START_MS);
    try {
      await Promise.all(this.#pc.getSenders().map(keepSize));
      await this.#pc.setLocalDescription();
      const answer = await this.#post(this.#pc.localDescription.sdp, deadline);
      await this.#pc.setRemoteDescription({ type: "answer", sdp: answer });
      await this.#connected(deadline);
    } catch (error) {
      await this.stop();
      throw deadline.aborted && !(error instanceof WhipError) ? new WhipError(NO_ANSWER) : error;
    }
    this.#pc.addEventListener("connectionstatechange", () => this.#changed());
  }

  /** Ends the session. The server learns of it even when the page is being closed. */
  async stop() {
    clearTimeout(this.#timer);
    const session = this.#session;
    this.#session = "";
    if (session) {
      const headers = this.#authorization();
      const signal = AbortSignal.timeout(ANSWER_MS);
      await fetch(session, { method: "DELETE", headers, keepalive: true, signal }).catch(() => {});
    }
    this.#pc?.close();
  }

  async #post(offer, deadline) {
    const response = await fetch(this.#url, {
      method: "POST",
      headers: { "content-type": "application/sdp", ...this.#authorization() },
      body: offer,
      signal: deadline,
    }).catch(() => {
      throw new WhipError(deadline.aborted ? NO_ANSWER : UNREACHABLE);
    });
    if (response.status !== 201) throw new WhipError(await ofAnswer(response), response.status);
    this.#session = new URL(response.headers.get("location"), response.url).href;
    return response.text();
  }

  #authorization() {
    return this.#token ? { authorization: `Bearer ${this.#token}` } : {};
  }

  #connected(deadline) {
    const pc = this.#pc;
    return new Promise((resolve, reject) => {
      const look = () => {
        if (pc.connectionState === "connected") resolve();
        else if (pc.connectionState === "failed" || deadline.aborted) reject(new WhipError(NO_CONNECTION));
        else return;
        pc.removeEventListener("connectionstatechange", look);
        deadline.removeEventListener("abort", look);
      };
      pc.addEventListener("connectionstatechange", look);
      deadline.addEventListener("abort", look);
      look();
    });
  }

  #changed() {
    clearTimeout(this.#timer);
    const state = this.#pc.connectionState;
    if (state === "connected") {
      this.#was_lost = false;
      this.onconnection(true);
    } else if (this.#session && state === "disconnected") {
      this.onconnection(false);
      this.#timer = setTimeout(() => this.#restart(), RESTART_AFTER_MS);
    } else if (this.#session && state === "failed") {
      if (this.#was_lost) this.#lose();
      else this.#restart();
    }
  }

  /** A new way to the server for the same session (RFC 9725 4.3.3); tried once each time it is lost. */
  async #restart() {
    this.#was_lost = true;
    try {
      await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart: true }));
      const response = await fetch(this.#session, {
        method: "PATCH",
        headers: { "content-type": FRAGMENT, "if-match": "*", ...this.#authorization() },
        body: credentials(this.#pc.localDescription.sdp),
        signal: AbortSignal.timeout(ANSWER_MS),
      });
      if (response.status !== 200) throw new WhipError(await ofAnswer(response), response.status);
      const answer = renewed(this.#pc.remoteDescription.sdp, await response.text());
      await this.#pc.setRemoteDescription({ type: "answer", sdp: answer });
    } catch {
      this.#lose();
    }
  }

  #lose() {
    this.#session = "";
    this.#pc.close();
    this.onlost(LOST);
  }
}

/** Another size of pictures begins another file: where the link is thin, fewer pictures are the lesser evil. */
async function keepSize(sender) {
  if (sender.track.kind !== "video") return;
  const parameters = { ...sender.getParameters(), degradationPreference: "maintain-resolution" };
  // A browser that does not know it goes on as it likes.
  await sender.setParameters(parameters).catch(() => {});
}

function credentials(sdp) {
  const lines = ["ice-ufrag", "ice-pwd"].map((name) => sdp.match(new RegExp(`^a=${name}:.*$`, "m"))[0].trim());
  return lines.join("\r\n") + "\r\n";
}

/** The server's description with the ICE credentials of a fragment. */
function renewed(sdp, fragment) {
  let result = sdp;
  for (const name of ["ice-ufrag", "ice-pwd"]) {
    const [line] = fragment.match(new RegExp(`^a=${name}:[^\r\n]*`, "m"));
    result = result.replace(new RegExp(`^a=${name}:[^\r\n]*`, "gm"), () => line);
  }
  return result;
}
