"""What the readers of human video have in common: files, tracks from recorded poses, moving cameras."""
