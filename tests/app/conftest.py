from tests.app.in_process import serve

__all__ = ["serve"]
