"""Another server as a model: it is asked over the network, in its own protocol."""
