"""Racing: a point of the search space is run on as many seeds as it takes to tell it from the others."""
