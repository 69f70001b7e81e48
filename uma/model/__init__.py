"""The Unified Motion-Action model in PyTorch."""
