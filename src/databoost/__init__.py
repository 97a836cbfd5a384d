"""databoost: a fixed model, a messy image dataset, and a better dataset round after round."""
