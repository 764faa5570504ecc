"""A study in pictures: curves, histories, slices, and the page of them."""
