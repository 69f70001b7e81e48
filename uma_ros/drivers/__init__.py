"""Devices behind small protocols; vendors' libraries are imported where they are first needed."""
