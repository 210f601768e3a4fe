"""One file per dataset; the file's stem is the dataset's name."""
