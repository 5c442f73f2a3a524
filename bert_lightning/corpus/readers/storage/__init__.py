"""Where files lie and how they are packed: disks and object storage, compression, progress."""
