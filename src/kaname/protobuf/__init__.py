"""The messages of the gRPC protocols, for the server's doors and for remote models. Needs the extra `grpc`."""
