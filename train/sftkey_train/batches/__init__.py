"""From a prepared folder to weighted batches: order, region weights, packing."""
