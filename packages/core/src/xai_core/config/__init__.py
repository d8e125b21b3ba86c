"""Configuration: strict YAML, structure, overrides, resolution. Light."""
