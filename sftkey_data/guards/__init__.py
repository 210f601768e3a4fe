"""What bounds and proves the files that strangers have made, before anything of them is read or trusted."""
