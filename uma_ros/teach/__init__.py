"""A page in the browser on which a person shows what should move: guard, scene, lesson, gate and page."""
