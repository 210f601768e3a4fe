"""The output format: the template, its marks, and the one scanner that reads them back."""
