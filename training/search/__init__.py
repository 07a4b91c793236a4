"""Hyperparameter search with Optuna: ``tune.py`` first, then its parts."""
