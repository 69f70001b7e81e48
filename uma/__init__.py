"""UMA, the Unified Motion-Action model: predicts an action chunk from an observation and a reference motion.

This package imports neither torch nor SciPy. Import the module that you need.
"""

__version__ = "0.1.0"
