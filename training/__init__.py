"""Train, compare and export the classifier. Research use only, never a diagnosis."""
