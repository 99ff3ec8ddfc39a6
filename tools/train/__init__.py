"""Training of a bundle from twin data: collect, train, aggregate, measure, export."""
