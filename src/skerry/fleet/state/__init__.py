"""What the store holds, as values: one struct for each kind of document, and the key it lies at."""
