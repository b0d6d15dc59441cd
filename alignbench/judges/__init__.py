"""The shipped judges, one file each."""
