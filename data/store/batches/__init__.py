"""Of what batches are made: columns on the device, histories, groups of candidates, gaps of time."""
