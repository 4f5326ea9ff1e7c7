"""Reading scans from files that other programs wrote, by tables of where their arrays are."""
