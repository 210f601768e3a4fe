"""One completion to one verdict, and files of them."""
