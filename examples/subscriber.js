// Follows a published run from Node.
//
//     npm install zeromq
//     node examples/subscriber.js ipc:///tmp/run.sock action.net action.proc
//
// Prints each record's exact line; says on stderr when messages are missing.
const zmq = require("zeromq");

async function main([url, ...topics]) {
  const socket = new zmq.Subscriber();
  socket.subscribe(...(topics.length ? topics : ["action."]), "stream.");
  socket.connect(url);
  const seen = new Map();
  let joined = false;
  let missing = 0;
  for await (const [head, payload] of socket) {
    const [topic, seq, number] = head.toString("ascii").split(" ");
    if (topic === "stream.end") {
      socket.close();
      return JSON.parse(payload).complete && !missing ? 0 : 3;
    }
    if (topic === "stream.heartbeat") {
      if (!joined) console.error("joined");
      joined = true;
      continue;
    }
    // Numbers count the messages of one topic, without holes.
    const lost = Number(number) - (seen.get(topic) ?? Number(number) - 1) - 1;
    seen.set(topic, Number(number));
    if (lost) {
      missing += lost;
      console.error(`${lost} of ${topic} missing before record ${seq}`);
    }
    process.stdout.write(payload.toString() + "\n");
  }
}

main(process.argv.slice(2)).then((status) => { process.exitCode = status; });
