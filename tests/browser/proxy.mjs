// A wire between page and gateway that can be cut, so that a page's reconnecting can be seen.

import { once } from "node:events";
import net from "node:net";

export class Proxy {
  #server;
  #sockets = new Set();
  #whole = true;

  /** Listens on a free port, and takes everything to `url`'s host and port. */
  static async to(url) {
    const proxy = new Proxy();
    const { hostname, port } = new URL(url);
    proxy.#server = net.createServer((near) => {
      if (!proxy.#whole) return near.destroy();
      const far = net.connect(port, hostname);
      near.pipe(far).pipe(near);
      for (const [socket, other] of [[near, far], [far, near]]) {
        proxy.#sockets.add(socket);
        socket.on("error", () => other.destroy());
        socket.on("close", () => {
          proxy.#sockets.delete(socket);
          other.destroy();
        });
      }
    });
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url() {
    return `ws://127.0.0.1:${this.#server.address().port}`;
  }

  /** Ends every connection, and refuses new ones until `mend()`. */
  cut() {
    this.#whole = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend() {
    this.#whole = true;
  }

  close() {
    this.cut();
    this.#server.close();
  }
}
