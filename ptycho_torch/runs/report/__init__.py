"""The report of a run: one page that opens from the disk, without a network, and is made from the files of the run."""
