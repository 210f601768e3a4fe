"""One page over all scored runs below a folder."""
