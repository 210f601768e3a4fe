"""Files and folders, local or by URL: complete or not there."""
