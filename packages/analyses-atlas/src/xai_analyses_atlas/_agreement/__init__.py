"""How far relevance maps agree with each other, and what they depend on."""
