"""Worlds in which each allocation trains a policy, whose true objective is known exactly."""
