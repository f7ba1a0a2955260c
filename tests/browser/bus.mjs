// Somebody with nothing but a NATS connection, as `nats pub -H Gatebus-Raw:text …` has.

import { once } from "node:events";
import net from "node:net";

/** Publishes a raw text on a subject; returns when the server has taken it. */
export async function publishText(natsUrl, subject, text) {
  const { hostname, port } = new URL(natsUrl);
  const socket = net.connect(port, hostname);
  socket.setEncoding("utf8");
  const head = "NATS/1.0\r\nGatebus-Raw: text\r\n\r\n";
  const total = head.length + Buffer.byteLength(text);
  socket.write('CONNECT {"verbose":false,"headers":true}\r\n');
  socket.write(`HPUB ${subject} ${head.length} ${total}\r\n${head}${text}\r\nPING\r\n`);
  let said = "";
  while (!said.includes("PONG")) {
    const [chunk] = await once(socket, "data");
    said += chunk;
    if (said.includes("-ERR")) throw new Error(`NATS says ${said}`);
  }
  socket.destroy();
}
