from tests.app.in_process import serve
from tests.client.awaited import client_class

__all__ = ["client_class", "serve"]
