"""The floor: a uvloop protocol that parses a whole request with httptools and answers with fixed bytes."""

import asyncio
import os

import httptools
import uvloop

BODY = b'{"prediction":0,"confidence":0.9,"model":"floor","version":"1","request_id":"0","latency_ms":0.1}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data):
        self._parser.feed_data(data)

    def on_header(self, name, value):
        pass

    def on_body(self, body):
        pass

    def on_message_complete(self):
        self._transport.write(ANSWER)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", int(os.environ["BENCH_PORT"]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
