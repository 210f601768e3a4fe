"""LaTeX in the examples of a page, set by KaTeX, which the page carries where it is needed."""
