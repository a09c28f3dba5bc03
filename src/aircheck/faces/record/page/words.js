// What went wrong, in words for the person in front of the page.

const OF_MEDIA = {
  NotAllowedError:
    "The browser was not allowed to use it. Allow camera and microphone for this page beside its address, " +
    "then choose again.",
  NotFoundError:
    "A camera or microphone is missing. Connect it and try again, or choose “Sound only” or “No microphone”.",
  NotReadableError: "The camera or microphone is in use by another program, or does not answer.",
  OverconstrainedError: "The chosen device is not there any more. Choose another one.",
  AbortError: "The device stopped before it could be used. Choose it again.",
};

/** Why this page can have neither camera nor microphone; empty when it can. */
export function whyNoMedia() {
  if (navigator.mediaDevices && window.RTCPeerConnection) return "";
  if (!window.isSecureContext) {
    return (
      "Browsers give camera and microphone only to pages that came over https, or from this machine itself. " +
      `Open https://${location.hostname}:8444/record/ once the server has a certificate.`
    );
  }
  return "This browser can not send camera or microphone (it has no WebRTC).";
}

/** An error of getUserMedia or getDisplayMedia. */
export function ofMedia(error, kind) {
  if (kind === "screen" && error.name === "NotAllowedError") {
    return "No screen was chosen.";
  }
  return OF_MEDIA[error.name] ?? `Camera or microphone cannot be used: ${error.message}`;
}

/** An answer of the server that is none we wanted. */
export async function ofAnswer(response) {
  const problem = await response.json().catch(() => null);
  if (!problem?.detail) return `The server answered ${response.status} ${response.statusText}.`;
  return `The server refused: ${problem.detail}.` + (problem.remedy ? ` ${sentence(problem.remedy)}` : "");
}

export const UNREACHABLE = "The server cannot be reached.";
export const NO_ANSWER = "The server does not answer. It may be busy, or a firewall may keep it away; try again.";
export const NO_CONNECTION =
  "The server answered, but no media gets through to it. Its WebRTC port, or UDP altogether, may be blocked.";
export const TROUBLE = "Nothing gets through to the server at the moment; trying again…";
export const LOST = "The connection to the server was lost. What was recorded until then is kept.";

function sentence(text) {
  return text[0].toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
}
