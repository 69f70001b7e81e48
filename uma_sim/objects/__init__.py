"""Objects on the table: utensils and their holders, brushes and scrapers, debris, cloth, cables, catalogue shapes."""
