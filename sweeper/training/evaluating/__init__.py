"""What is measured after an epoch: scores of a split and the metrics of them."""
