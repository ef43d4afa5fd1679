"""Open Inference Protocol v2 over REST, with the extensions for binary tensors, classification, parameters,
model repository, model configuration and statistics."""
