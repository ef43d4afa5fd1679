"""OpenTelemetry: traces and metrics that a thread in the background sends to a collector over OTLP/HTTP."""
