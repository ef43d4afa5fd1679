"""`kaname top`: what a running server does, model by model, as it happens."""
