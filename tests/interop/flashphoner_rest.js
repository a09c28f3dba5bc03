// Plays a session of calls with the vendor's REST client and prints what it made of the answers.
//   node flashphoner_rest.js CLIENT URL CALLS     CALLS: JSON, [["stream.find", [null, "cam"]], …]
// The client wants a browser's XMLHttpRequest; this one has of it what the client uses.
global.XMLHttpRequest = class {
  open(method, url) {
    Object.assign(this, { method, url, headers: {}, readyState: 1 });
  }
  setRequestHeader(name, value) {
    this.headers[name] = value;
  }
  async send(body) {
    const answer = await fetch(this.url, { method: this.method, headers: this.headers, body });
    this.response = this.responseText = await answer.text();
    Object.assign(this, { status: answer.status, readyState: 4 });
    this.onreadystatechange && this.onreadystatechange();
    this.onload && this.onload();
  }
};

const [client, url, calls] = process.argv.slice(2);
const api = require(client).instance(url, url);

(async () => {
  const said = [];
  for (const [path, args] of JSON.parse(calls)) {
    const [group, name] = path.split(".");
    try {
      const answer = await api[group][name](...args);
      said.push({ ok: true, answer: answer === undefined ? null : answer });
    } catch (error) {
      said.push({ ok: false, answer: error ? String(error) : null });
    }
  }
  console.log(JSON.stringify(said));
})();
