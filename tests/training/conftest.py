from tests.training.fixtures import eager, finished, tiny_backbone, tiny_data

__all__ = ["eager", "finished", "tiny_backbone", "tiny_data"]
