"""What lies in folders and archives: files, listings of them, and the tables and pixels in their bytes."""
