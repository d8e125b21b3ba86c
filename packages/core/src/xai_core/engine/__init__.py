"""The heavy half of the frame: everything here may import torch. Nothing light imports it at module level."""
