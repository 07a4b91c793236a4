"""Cross-validation of recipes by group: which is better, and by how much, on images that none of its models saw."""
