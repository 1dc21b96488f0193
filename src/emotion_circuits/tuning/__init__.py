"""Weights and vectors that learn to express a value by examples, and what such methods are compared by."""
