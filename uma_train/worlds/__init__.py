"""Small synthetic worlds, made by arithmetic alone, in which a mechanism can be proven or seen to fail."""
