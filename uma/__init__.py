"""UMA, the Unified Motion-Action model: from an observation and a reference motion to an action chunk.

Importing this package loads nothing heavy: no torch, no scipy. Import the module that you need.
"""

__version__ = "0.1.0"
