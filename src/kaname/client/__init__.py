"""A small, typed HTTP client.

    from kaname.client import Client

    with Client("http://127.0.0.1:8080", key="…") as client:
        print(client.predict("iris", features={"input": [5.1, 3.5, 1.4, 0.2]}).prediction)

Synchronous and safe to share between threads. It needs nothing but the standard library and msgspec.
"""

from kaname.client.budget import RetryBudget
from kaname.client.client import Client, Model, Prediction, Row

__all__ = ["Client", "Model", "Prediction", "RetryBudget", "Row"]
