"""The floor of gRPC: a synchronous grpcio server that returns the bytes it got, by one generic handler."""

from __future__ import annotations

import os
from concurrent import futures
from typing import Any

import grpc

THREADS = 64


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Every method."""

    def __init__(self) -> None:
        self._method = grpc.unary_unary_rpc_method_handler(lambda body, _: body)

    def service(self, _: grpc.HandlerCallDetails) -> Any:
        return self._method


if __name__ == "__main__":
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), handlers=[Echo()])
    server.add_insecure_port(f"127.0.0.1:{os.environ['BENCH_PORT']}")
    server.start()
    server.wait_for_termination()
