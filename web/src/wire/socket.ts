/** A session over WebSocket. */

import { socketAddress } from "./api.ts";
import type { Open } from "./channel.ts";
import { parseJson } from "./json.ts";
import type { Frame } from "./types.ts";

export const openSocket: Open = (session, after, receiver) => {
  let socket: WebSocket;
  try {
    socket = new WebSocket(socketAddress(session, after));
  } catch {
    // The browser has none, or a rule of its owner forbids them.
    const timer = setTimeout(() => receiver.lost());
    return { ping: () => true, close: () => clearTimeout(timer) };
  }
  socket.onmessage = (message) => {
    let frame: Frame;
    try {
      frame = parseJson(message.data) as Frame;
    } catch {
      receiver.lost();
      return;
    }
    receiver.alive();
    receiver.frame(frame);
  };
  socket.onclose = () => receiver.lost();
  return {
    ping() {
      if (socket.readyState === WebSocket.OPEN) socket.send('{"type":"ping"}');
      return true;
    },
    close() {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    },
  };
};
