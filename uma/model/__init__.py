"""The Unified Motion-Action model in torch."""
