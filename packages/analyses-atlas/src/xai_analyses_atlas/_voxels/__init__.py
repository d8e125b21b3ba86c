"""Relevance and a brain feature, voxel by voxel: within each person, and across people."""
