"""dataflow against bare Dask and against its peers."""
