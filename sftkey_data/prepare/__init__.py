"""From records to examples: prompts, rendering, encoding, shortening, contamination. Pure, nothing is written."""
