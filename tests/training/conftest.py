from tests.training.fixtures import eager, finished, studied, tiny_backbone, tiny_backbones, tiny_data

__all__ = ["eager", "finished", "studied", "tiny_backbone", "tiny_backbones", "tiny_data"]
