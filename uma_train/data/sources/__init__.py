"""Recordings of other formats as training episodes: readers, gates, tracks."""
